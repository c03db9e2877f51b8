from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from thread_backend import train

from distlab.backends.base import Evaluation
from distlab.data.dataset import Dataset
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import (
    Execution,
    FrameworkOptions,
    OptimizerOptions,
    OptimizerVariant,
    Precision,
)
from distlab.fairness import checks, kinks, reference, trajectory
from distlab.measure.clock import Window
from distlab.models.layers import ReLU
from distlab.models.rewrite import pool_first
from distlab.outcome.events import EpochDone, Event, Finished, Ready, Started
from distlab.outcome.record import Record

CHECKS = {
    "weights",
    "samples",
    "replicas",
    "evaluation",
    "recount",
    "optimizer",
    "arithmetic",
    "resources",
    "clock",
    "trajectory",
}
Events = list[Event]
Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def trained(
    experiment: Callable[..., Experiment], dataset: Dataset, thread_framework: Any
) -> tuple[Experiment, Events]:
    """Two ranks that keep the contract: two epochs of six steps."""
    one = experiment("scaling=strong", "batch_size=20", "gpus=2", "epochs=2", "seed=5")
    return one, [*(Started(rank, "here", 1) for rank in range(2)), *train(one, dataset)]


@pytest.fixture
def failed(trained: tuple[Experiment, Events], dataset: Dataset) -> Callable[..., set[str]]:
    """The names of the checks that fail."""

    def run(events: Events | None = None, experiment: Experiment | None = None) -> set[str]:
        record = Record(experiment or trained[0], dataset, 0.0)
        for event in trained[1] if events is None else events:
            record.add(event)
        results = checks.run_all(record)
        assert set(results) == CHECKS
        assert all(check.detail and "\n" not in check.detail for check in results.values())
        assert all(type(check.passed) is bool for check in results.values())
        return {name for name, check in results.items() if not check.passed}

    return run


def on(kind: type, change: Change, rank: int | None = None, epoch: int | None = None) -> Change:
    """Change the events of a kind, of one rank or epoch alone if these are given."""

    def changed(event: Any) -> Any:
        hit = (
            isinstance(event, kind)
            and rank in (None, event.rank)
            and (epoch is None or event.epoch == epoch)
        )
        return change(event) if hit else event

    return changed


def resources(**values: Any) -> Change:
    return lambda ready: replace(ready, resources={**ready.resources, **values})


def consumed(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda done: replace(done, consumed=change(done.consumed))


def sample_twice(samples: np.ndarray) -> np.ndarray:
    samples = samples.copy()
    samples[0, 0] = samples[0, 1]
    return samples


def losses(step: int, factor: float) -> Change:
    def change(done: EpochDone) -> EpochDone:
        changed = done.losses.astype(np.float64)
        changed[step] *= factor
        return replace(done, losses=changed)

    return change


def window(change: Callable[[Window], Window]) -> Change:
    return lambda done: replace(done, window=change(done.window))


def evaluated(samples: int = 0, correct: int = 0, loss: float = 0.0) -> Change:
    def change(done: EpochDone) -> EpochDone:
        old = done.evaluation
        new = Evaluation(old.samples + samples, old.correct + correct, old.loss_sum + loss)
        return replace(done, evaluation=new)

    return change


def other_final_weights(finished: Finished) -> Finished:
    return replace(finished, weights_sha256="f" * 64)


def other_first_weights(ready: Ready) -> Ready:
    return replace(ready, weights_sha256="f" * 64)


def zero_weights(finished: Finished) -> Finished:
    assert finished.weights is not None
    return replace(finished, weights={n: np.zeros_like(a) for n, a in finished.weights.items()})


FAULTS: dict[str, tuple[Change, str]] = {
    "one rank begins with other weights": (on(Ready, other_first_weights, rank=1), "weights"),
    "all ranks begin with other weights": (on(Ready, other_first_weights), "weights"),
    "samples shifted by one step": (
        on(EpochDone, consumed(lambda s: np.roll(s, 1, axis=0))),
        "samples",
    ),
    "samples of a batch shifted by one": (
        on(EpochDone, consumed(lambda s: np.roll(s, 1, axis=1)), rank=0),
        "samples",
    ),
    "one sample twice": (on(EpochDone, consumed(sample_twice), rank=1, epoch=1), "samples"),
    "one rank ends with other weights": (on(Finished, other_final_weights, rank=1), "replicas"),
    "a padded sample evaluated": (on(EpochDone, evaluated(samples=1), rank=1), "evaluation"),
    "a sample not evaluated in the first epoch": (
        on(EpochDone, evaluated(samples=-1), rank=0, epoch=0),
        "evaluation",
    ),
    "one right answer too many": (on(EpochDone, evaluated(correct=1), rank=0), "recount"),
    "a wrong answer counted twice": (on(EpochDone, evaluated(loss=0.02), rank=0), "recount"),
    "other weights handed over": (on(Finished, zero_weights, rank=0), "recount"),
    "another update than Adam's on one rank": (
        on(Ready, lambda ready: replace(ready, optimizer_error=0.01), rank=1),
        "optimizer",
    ),
    "TF32 on one rank": (on(Ready, resources(tf32=True), rank=1), "arithmetic"),
    "other threads on one rank": (on(Ready, resources(threads=2), rank=1), "resources"),
    "other threads on all ranks": (on(Ready, resources(threads=2)), "resources"),
    "another version on one rank": (
        on(Ready, resources(framework_version="0.1"), rank=1),
        "resources",
    ),
    "another NumPy on one rank": (on(Ready, resources(numpy_version="1.26"), rank=1), "resources"),
    "another distlab on one rank": (on(Ready, resources(distlab_code="0"), rank=1), "resources"),
    "another Python on one rank": (on(Ready, resources(python_version="3.9"), rank=1), "resources"),
    "another niceness on one rank": (on(Ready, resources(nice=15), rank=1), "resources"),
    "all bound to one of two cores": (
        on(Ready, resources(cores={"allowed": [0, 1]}, cpu_affinity=[0])),
        "resources",
    ),
    "another device on one rank": (on(Ready, resources(device_name="abacus"), rank=0), "resources"),
    "a step not timed": (
        on(EpochDone, window(lambda w: replace(w, spans=((5, w.spans[0][1]),))), rank=1),
        "clock",
    ),
    "a window shorter than its spans": (
        on(EpochDone, window(lambda w: replace(w, seconds=w.seconds / 100)), rank=0, epoch=1),
        "clock",
    ),
    "a window of no time": (
        on(EpochDone, window(lambda w: Window(1.0, tuple((n, 0.0) for n, _ in w.spans)))),
        "clock",
    ),
    "first loss off by 3e-6": (on(EpochDone, losses(0, 1 + 3e-6), epoch=0), "trajectory"),
    "eighth loss off by 2e-4": (on(EpochDone, losses(1, 1 + 2e-4), epoch=1), "trajectory"),
    "third loss off by 2e-4 below": (on(EpochDone, losses(2, 1 - 2e-4), epoch=0), "trajectory"),
    "first loss not a number": (on(EpochDone, losses(0, np.nan), epoch=0), "trajectory"),
    "fifth loss not a number": (on(EpochDone, losses(4, np.nan), epoch=0), "trajectory"),
}


def test_a_run_that_keeps_the_contract_passes_all_checks(failed: Callable[..., set[str]]) -> None:
    assert failed() == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fails_its_check_and_no_other(
    fault: str, trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    change, expected = FAULTS[fault]
    assert failed([change(event) for event in trained[1]]) == {expected}


def test_every_check_has_a_fault() -> None:
    assert {check for _, check in FAULTS.values()} == CHECKS


def test_the_stock_optimizer_is_told(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    stock = OptimizerOptions(OptimizerVariant.stock)
    options = replace(trained[0].options, optimizer=stock)
    assert failed(experiment=replace(trained[0], options=options)) == {"optimizer"}


@pytest.mark.parametrize(
    "change",
    [
        on(EpochDone, losses(0, 1 + 1e-6), epoch=0),
        on(EpochDone, losses(5, 1 - 5e-5), epoch=0),
        # Steps beyond the first ten may drift: ReLU networks amplify rounding.
        on(EpochDone, losses(5, 1 + 1e-2), epoch=1),
    ],
)
def test_rounding_passes(
    change: Change, trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    assert failed([change(event) for event in trained[1]]) == set()


def test_a_missing_epoch_of_one_rank_is_found(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    events = [
        event
        for event in trained[1]
        if not (isinstance(event, EpochDone) and event.rank == 1 and event.epoch == 1)
    ]
    assert {"clock", "samples"} <= failed(events)


def test_a_rank_that_never_finished_is_found(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    events = [e for e in trained[1] if not (isinstance(e, Finished) and e.rank == 1)]
    assert failed(events) == {"replicas"}


def test_nothing_is_verified_by_no_events(failed: Callable[..., set[str]]) -> None:
    # That no rank rounds to TF32 is true of no ranks.
    assert failed([]) >= CHECKS - {"arithmetic"}


def test_the_other_seeds_run_is_not_this_one(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    options = replace(trained[0].options, seed=6)
    found = failed(experiment=replace(trained[0], options=options))
    assert found == {"weights", "samples", "trajectory"}


def with_precision(experiment: Experiment, precision: Precision) -> Experiment:
    return replace(experiment, options=replace(experiment.options, precision=precision))


def rounded(event: Any) -> Any:
    """Losses as far from float64's as rounding to bfloat16 might leave them."""
    return on(EpochDone, losses(0, 1 + 1e-3), epoch=0)(
        on(EpochDone, losses(5, 1 - 1e-2), epoch=0)(event)
    )


def test_a_bf16_run_is_verified_by_wider_bounds_and_only_if_it_was_rounded(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    bf16 = with_precision(trained[0], Precision.bf16)
    events = [rounded(event) for event in trained[1]]
    assert failed(events, bf16) == set()
    assert failed(events) == {"trajectory"}
    assert failed(trained[1], bf16) == {"trajectory"}, "nothing was rounded"
    far = on(EpochDone, losses(0, 1 + 5e-3), epoch=0)
    assert failed([far(event) for event in trained[1]], bf16) == {"trajectory"}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_all_but_the_losses_is_as_strict_with_bf16(
    fault: str, trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    change, expected = FAULTS[fault]
    if expected == "trajectory":
        return
    events = [change(rounded(event)) for event in trained[1]]
    assert failed(events, with_precision(trained[0], Precision.bf16)) == {expected}


def test_tf32_must_be_on_everywhere_where_it_was_asked_for(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    tf32 = with_precision(trained[0], Precision.tf32)
    events = [on(EpochDone, losses(0, 1 + 1e-4), epoch=0)(event) for event in trained[1]]
    switched = [on(Ready, resources(tf32=True))(event) for event in events]
    assert failed(switched, tf32) == set()
    assert failed(events, tf32) == {"arithmetic"}
    one = [on(Ready, resources(tf32=True), rank=1)(event) for event in events]
    assert failed(one, tf32) == {"arithmetic"}
    assert failed(switched, with_precision(trained[0], Precision.bf16)) == {"arithmetic"}


def test_an_evaluation_may_differ_by_a_millionth_of_its_loss(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    last = [event for event in trained[1] if isinstance(event, EpochDone)][-1].epoch
    ends = [e for e in trained[1] if isinstance(e, EpochDone) and e.epoch == last]
    loss = sum(end.evaluation.loss_sum for end in ends)
    assert loss > 1.5 * sum(end.evaluation.samples for end in ends)
    for off, expected in ((0.8e-6, set()), (1.3e-6, {"recount"})):
        change = on(EpochDone, evaluated(loss=off * loss), rank=0)
        assert failed([change(event) for event in trained[1]]) == expected


def test_an_evaluation_in_tf32_may_differ_by_rounding_and_by_no_more(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    tf32 = with_precision(trained[0], Precision.tf32)

    def events(loss: float) -> Events:
        changes = (
            on(EpochDone, losses(0, 1 + 1e-4), epoch=0),
            on(Ready, resources(tf32=True)),
            on(EpochDone, evaluated(loss=loss), rank=0),
        )
        found = trained[1]
        for change in changes:
            found = [change(event) for event in found]
        return found

    # 23 test samples, 5e-4 each.
    assert failed(events(0.01), tf32) == set()
    assert failed(events(0.02), tf32) == {"recount"}
    bf16 = with_precision(trained[0], Precision.bf16)
    assert "recount" in failed(events(0.01), bf16), "evaluation is float32 with bf16"


@pytest.mark.parametrize(
    "choice",
    [
        ("optimizer=adamw", "optimizer.weight_decay=0.1", "rate.warmup_steps=4"),
        ("optimizer=sgd", "learning_rate=0.1", "rate.schedule=step", "rate.drop_epochs=[1]"),
        ("optimizer=sgd", "optimizer.momentum=0.9", "learning_rate=0.1", "rate.schedule=cosine"),
    ],
    ids=["adamw", "sgd", "momentum"],
)
def test_every_optimizer_is_verified_and_not_taken_for_another(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    thread_framework: Any,
    failed: Callable[..., set[str]],
    choice: tuple[str, ...],
) -> None:
    base = ("scaling=strong", "batch_size=20", "gpus=2", "epochs=2", "seed=5")
    one = experiment(*base, *choice)
    events = [*(Started(rank, "here", 1) for rank in range(2)), *train(one, dataset)]
    assert failed(events, one) == set()
    # Of its first update or of its losses, something always tells.
    rate = next((word for word in choice if word.startswith("learning_rate")), "epochs=2")
    for other in (experiment(*base, rate), experiment(*base, *choice, "rate.warmup_steps=9")):
        assert "trajectory" in failed(events, other)


def test_another_learning_rate_shows_in_the_trajectory_alone(
    trained: tuple[Experiment, Events], failed: Callable[..., set[str]]
) -> None:
    options = replace(trained[0].options, learning_rate=1.01e-3)
    assert failed(experiment=replace(trained[0], options=options)) == {"trajectory"}


def test_a_run_shorter_than_ten_steps_is_checked_on_what_it_has(
    experiment: Callable[..., Experiment], dataset: Dataset, thread_framework: Any
) -> None:
    one = experiment("batch_size=60", "epochs=1")
    record = Record(one, dataset, 0.0)
    for event in train(one, dataset):
        record.add(event)
    result = checks.trajectory(record)
    assert result.passed and "2 steps" in result.detail


def test_the_references_losses_are_computed_once_for_all_frameworks(
    trained: tuple[Experiment, Events], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []

    def reference_train(*given: Any) -> tuple[np.ndarray, dict[str, Any]]:
        calls.append(given[8][0])
        return np.ones(1), {}

    monkeypatch.setattr(trajectory, "_LOSSES", {})
    monkeypatch.setattr(reference, "train", reference_train)
    experiment = trained[0]
    another = replace(experiment.options, execution=Execution.graph, framework=FrameworkOptions())
    for options in (experiment.options, another):
        trajectory.reference_losses(Record(replace(experiment, options=options), dataset, 0.0))
    assert calls == [1e-3]
    for change in (
        replace(experiment, repeat=1),
        replace(experiment, options=replace(another, learning_rate=2e-3)),
        replace(experiment, options=replace(another, batch_size=another.batch_size // 2)),
    ):
        trajectory.reference_losses(Record(change, dataset, 0.0))
    assert calls == [1e-3, 1e-3, 2e-3, 1e-3]


def test_a_run_that_takes_one_input_to_the_other_side_of_a_kink_is_verified(
    trained: tuple[Experiment, Events],
    failed: Callable[..., set[str]],
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Record(trained[0], dataset, 0.0)
    spec, weights, images, labels, order = trajectory._first_steps(record)
    spec = replace(spec, layers=pool_first(spec.layers))
    relu = next(place for place, layer in enumerate(spec.layers) if isinstance(layer, ReLU))

    def other_side(place: int, x: np.ndarray) -> np.ndarray:
        if place == relu:
            nearest = np.abs(x).argmin()
            x = x.copy()
            x.flat[nearest] *= -1
        return x

    adam, losses = reference.Adam(1e-3), []
    for step, batch in enumerate(order):
        loss, gradients = reference.loss_and_gradients(
            spec, weights, images[batch], labels[batch], *([other_side] if step == 0 else [])
        )
        losses.append(loss)
        weights = adam.step(weights, gradients)
    found = np.float32(losses)

    def told(done: EpochDone) -> EpochDone:
        if done.epoch:
            return replace(done, losses=np.r_[found[6:], done.losses[4:]])
        return replace(done, losses=found[:6])

    events = [on(EpochDone, told)(event) for event in trained[1]]
    assert failed(events) == {"trajectory"}
    monkeypatch.setattr(kinks, "UNDECIDED", 1e-3)
    assert failed(events) == set()
    for event in events:
        record.add(event)
    assert "decided: step 1, sample" in checks.trajectory(record).detail
