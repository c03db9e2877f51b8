from collections.abc import Callable

import pytest

from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.outcome.record import Record


@pytest.fixture
def record(experiment: Callable[..., Experiment], dataset: Dataset) -> Record:
    one = experiment("scaling=strong", "batch_size=4", "gpus=2", "epochs=2", "target_accuracy=0.5")
    return Record(one, dataset, 0.0)
