"""A run that did not end where its options say is found, whatever its ranks tell."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from distlab.backends.base import Evaluation
from distlab.data.dataset import Dataset
from distlab.data.order import epoch_order
from distlab.experiment.experiment import Experiment
from distlab.fairness import stopping
from distlab.measure.clock import Window
from distlab.outcome.events import EpochDone, Evaluated
from distlab.outcome.record import Record

STEPS = 31
Told = Callable[..., Record]


def epoch(index: int, steps: int, correct: int, inner: int = 0, stopped: str | None = None):
    """An epoch of a second a step, with an evaluation after 10 steps."""
    order = epoch_order(0, index, 124, 4)[:steps]
    inside = (Evaluated(10, 10.0, Evaluation(23, inner, 1.0)),) if steps > 10 else ()
    return EpochDone(
        *(0, index, Window(float(steps), ((steps, float(steps)),)), np.ones(steps, np.float32)),
        *(order, Evaluation(23, correct, 1.0)),
        inner=inside,
        stopped=stopped,
    )


@pytest.fixture
def told(experiment: Callable[..., Experiment], dataset: Dataset) -> Told:
    def made(*epochs: EpochDone, options: tuple[str, ...] = ()) -> Record:
        one = experiment("batch_size=4", "epochs=3", "target_accuracy=0.5", *options)
        record = Record(one, dataset, 0.0)
        for each in epochs:
            record.add(each)
        return record

    return made


AT_TARGET = ("stop.at_target=true", "evaluate.every=10")
SECONDS = ("stop.seconds=38", "evaluate.every=10")
WHOLE = (epoch(0, STEPS, 0), epoch(1, STEPS, 0), epoch(2, STEPS, 0))


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ((), WHOLE),
        (AT_TARGET, WHOLE),
        (AT_TARGET, (epoch(0, STEPS, 0), epoch(1, 10, 12, stopped="at_target"))),
        (SECONDS, (epoch(0, STEPS, 0), epoch(1, 10, 0, stopped="seconds"))),
        (("stop.steps=35",), (epoch(0, STEPS, 0), epoch(1, 4, 0, stopped="steps"))),
        (("stop.steps=93",), WHOLE),
        # The first reason counts.
        ((*AT_TARGET, "stop.steps=35"), (epoch(0, 20, 12, stopped="at_target"),)),
    ],
)
def test_an_end_that_was_asked_for_is_right(
    told: Told, options: tuple[str, ...], epochs: tuple[EpochDone, ...]
) -> None:
    record = told(*epochs, options=options)
    assert stopping.fault(record) is None
    assert stopping.steps(record) == sum(len(one.losses) for one in epochs)


@pytest.mark.parametrize(
    ("options", "epochs", "fault"),
    [
        ((), WHOLE[:2], "62 of 93 steps"),
        ((), (WHOLE[0], epoch(1, 10, 23, stopped="at_target")), "not fulfilled"),
        (AT_TARGET, (WHOLE[0], epoch(1, 10, 11, stopped="at_target")), "not fulfilled"),
        (AT_TARGET, (WHOLE[0], epoch(1, STEPS, 12, inner=12), WHOLE[2]), "after evaluation 3"),
        (AT_TARGET, (epoch(0, STEPS, 12, stopped="seconds"),), "not fulfilled"),
        (SECONDS, (epoch(0, STEPS, 0, stopped="seconds"),), "not fulfilled"),
        (SECONDS, WHOLE, "after evaluation 3"),
        (("stop.steps=35",), WHOLE, "93 of 35 steps"),
        (("stop.steps=35",), (WHOLE[0], epoch(1, 4, 0)), "stopped by None"),
        (AT_TARGET, (epoch(0, 20, 0), epoch(1, 10, 12, stopped="at_target")), "is not whole"),
    ],
)
def test_any_other_end_is_a_fault(
    told: Told, options: tuple[str, ...], epochs: tuple[EpochDone, ...], fault: str
) -> None:
    assert fault in str(stopping.fault(told(*epochs, options=options)))


def test_ranks_that_tell_different_reasons_tell_none(told: Told) -> None:
    record = told(WHOLE[0], epoch(1, 10, 12, stopped="at_target"), options=AT_TARGET)
    other = replace(record.windows[-1][0], rank=1, stopped="seconds")
    record.windows[-1][1] = other
    assert record.stopped is None and "20 of" not in str(stopping.fault(record))
    assert "41 of 93 steps" in str(stopping.fault(record))
