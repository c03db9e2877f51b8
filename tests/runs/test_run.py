"""What a run says before it starts; how it goes is in ``tests/test_launch.py``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from distlab.data import asked
from distlab.data.asked import DataOptions
from distlab.experiment.experiment import Experiment
from distlab.machine.cores import usable
from distlab.outcome.caveats import Code
from distlab.runs.run import Session, foreseen


def test_more_threads_than_the_cores_that_may_be_used_are_foreseen(
    experiment: Callable[..., Experiment],
) -> None:
    cores = len(usable().allowed)
    assert foreseen(experiment("gpus=1")) is None or usable().usable < 1
    for options in (
        [f"gpus={cores + 1}"],
        ["gpus=1", f"threads_per_worker={cores + 1}"],
        ["gpus=2", f"threads_per_worker={cores}"],
    ):
        found = foreseen(experiment(*options))
        assert found is not None and found.code is Code.oversubscribed, options
        assert found.detail.endswith("of this machine")


def test_of_a_cluster_it_is_not_known_where_ranks_will_be(
    experiment: Callable[..., Experiment],
) -> None:
    assert foreseen(experiment("gpus=4096", "cluster=existing")) is None


def test_files_are_loaded_once_whether_their_form_is_known_yet_or_not(tmp_path: Path) -> None:
    four = {"x_train": np.zeros((6, 4, 5), np.uint8), "x_test": np.zeros((3, 4, 5), np.uint8)}
    labels = {"y_train": np.arange(6) % 2, "y_test": np.arange(3) % 2}
    np.savez(tmp_path / "a.npz", **four, **labels)
    session, before = Session(), DataOptions("npz", file=str(tmp_path / "a.npz"))
    found = session.dataset(before, False)
    after = asked.told(before, found.form)
    assert (after.shape, after.classes) == ([1, 4, 5], 2)
    assert session.dataset(after, False) is found
