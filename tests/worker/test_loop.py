import resource
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from thread_backend import ThreadBackend, World, in_single_precision, train

from distlab.backends.base import MOMENTS, Evaluation
from distlab.checkpoints.state import State
from distlab.data.dataset import Dataset
from distlab.data.order import epoch_order
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.fairness import checks, optimizers, reference
from distlab.measure import clock
from distlab.models.weights import draw, fingerprint
from distlab.outcome.events import (
    Checkpoint,
    Divergence,
    EpochDone,
    Event,
    Finished,
    Progress,
    Ready,
)
from distlab.outcome.record import Record
from distlab.worker import epoch as one_epoch
from distlab.worker import loop, probes

pytestmark = pytest.mark.slow

STRONG = ("scaling=strong", "batch_size=4", "seed=3", "measure_exchange=false")
STEPS = 31


@pytest.fixture
def run(
    experiment: Callable[..., Experiment], dataset: Dataset, world: Callable[[int], World]
) -> Callable[..., tuple[Experiment, list[Event]]]:
    def trained(
        *overrides: str, live: bool = False, runs: int = 1
    ) -> tuple[Experiment, list[Event]]:
        one = experiment(*STRONG, *overrides)
        return one, train(one, dataset, live, runs)

    return trained


def of_rank(events: list[Event], rank: int) -> list[Event]:
    return [event for event in events if event.rank == rank]


def epochs(events: list[Event], rank: int = 0) -> list[EpochDone]:
    return [event for event in of_rank(events, rank) if isinstance(event, EpochDone)]


@pytest.mark.parametrize("size", [1, 2])
def test_life_cycle_is_what_the_contract_promises(run: Any, size: int) -> None:
    run("epochs=2", f"gpus={size}")
    spans = ["train"]
    state = ["set_weights", "set_optimizer_state"]
    one_epoch = ["barrier", *spans, "barrier", "evaluate", "weights"]
    for calls in World.current.calls:
        names = [name for name, _ in calls]
        limits = ["barrier"]
        warm_up = [*state, "train", "weights", "optimizer_state", "train", "barrier", "train"]
        ready = [*state, "describe", "weights"]
        # ThreadBackend.evaluate reads the weights itself, hence "weights" after each "evaluate".
        timed = [*one_epoch, *one_epoch, "weights"]
        expected = ["init", "build", "load_data", *limits, *warm_up, *ready, *timed, "close"]
        assert names == expected


def test_a_backend_that_does_not_say_what_it_uses_is_refused_before_it_trains(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ThreadBackend.describe
    monkeypatch.setattr(ThreadBackend, "describe", lambda self: {**whole(self), "tf32": "off"})
    with pytest.raises(DistlabError, match="tf32 as 'off', which is no bool"):
        run("epochs=1")


@pytest.mark.parametrize("size", [1, 2])
def test_a_kept_process_runs_again_as_a_new_one_would(run: Any, size: int) -> None:
    _, fresh = run("epochs=2", f"gpus={size}")
    _, events = run("epochs=2", f"gpus={size}", runs=2)
    for rank in range(size):
        names = [name for name, _ in World.current.calls[rank]]
        counts = {name: names.count(name) for name in ("init", "build", "load_data", "close")}
        assert counts == {"init": 1, "build": 2, "load_data": 1, "close": 1}
        expected, both = epochs(fresh, rank), epochs(events, rank)
        for one, other in zip([*expected, *expected], both, strict=True):
            np.testing.assert_array_equal(one.losses, other.losses)
        first, second = (e for e in of_rank(events, rank) if isinstance(e, Finished))
        (alone,) = (e for e in of_rank(fresh, rank) if isinstance(e, Finished))
        assert first.weights_sha256 == second.weights_sha256 == alone.weights_sha256
        ready = [e for e in of_rank(events, rank) if isinstance(e, Ready)]
        assert ready[1].seconds["framework_import"] == ready[1].seconds["process_group"] == 0


def test_the_exchange_is_measured_on_off_and_on_after_the_run(run: Any) -> None:
    _, fresh = run("epochs=1", "gpus=2")
    _, events = run("epochs=1", "gpus=2", "measure_exchange=true")
    for rank in range(2):
        (done,) = (e for e in of_rank(events, rank) if isinstance(e, Finished))
        (alone,) = (e for e in of_rank(fresh, rank) if isinstance(e, Finished))
        assert done.weights_sha256 == alone.weights_sha256
        assert alone.exchange is None
        assert done.exchange is not None
        assert len(done.exchange.with_exchange) == len(done.exchange.without) == 4
        assert min(*done.exchange.with_exchange, *done.exchange.without) > 0
        assert {one.bytes for one in done.all_reduces} >= {1024, 2**22}
        assert not alone.all_reduces
        programs = [detail for name, detail in World.current.calls[rank] if name == "build"]
        assert [program.exchange for program in programs] == [True, False, True]


def test_one_worker_has_no_exchange_to_measure(run: Any) -> None:
    _, events = run("epochs=1", "measure_exchange=true")
    (done,) = (e for e in events if isinstance(e, Finished))
    assert done.exchange is None


def test_the_cpu_time_of_a_window_is_that_of_the_window(run: Any) -> None:
    _, events = run("epochs=1")
    (done,) = epochs(events)
    assert done.cpu is not None
    # Less than a minute more, which no barrier takes.
    assert done.window.seconds <= done.cpu.wall < done.window.seconds + 60
    assert done.cpu.own > 0


def test_warm_up_shows_one_step_and_then_several(run: Any) -> None:
    run("epochs=1")
    trained = [len(detail) for name, detail in World.current.calls[0] if name == "train"]
    assert trained == [1, STEPS, STEPS, STEPS]


def test_warm_up_is_short_however_long_the_epoch(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(probes, "WARM_UP_STEPS", 5)
    run("epochs=1")
    trained = [len(detail) for name, detail in World.current.calls[0] if name == "train"]
    assert trained == [1, 5, 5, STEPS]


def test_the_first_loss_that_is_none_is_told_by_each_rank_that_saw_one(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are none on all ranks after step 13, by a loss that rank 1 alone saw."""
    monkeypatch.setattr(clock, "SPAN_FLOPS", 1.0)
    trained, begun = ThreadBackend.train, [0, 0]

    def spoiled(self: ThreadBackend, indices: np.ndarray, rates: Any = None) -> np.ndarray:
        losses = trained(self, indices, rates)
        warm = "describe" in [name for name, _ in World.current.calls[self._rank]]
        steps = np.arange(begun[self._rank], begun[self._rank] + len(losses)) * warm
        begun[self._rank] += len(losses) * warm
        losses[(steps > 12) | ((steps == 12) & (self._rank == 1))] = np.nan
        return losses

    monkeypatch.setattr(ThreadBackend, "train", spoiled)
    _, events = run("epochs=2", "gpus=2")
    first = [next(e for e in of_rank(events, k) if isinstance(e, Divergence)) for k in range(2)]
    assert [str(one) for one in first] == [
        "diverged at step 14 of epoch 1 on rank 0: loss nan",
        "diverged at step 13 of epoch 1 on rank 1: loss nan",
    ]
    # Before its epoch is told, so that nobody takes the epoch's figures for any.
    kinds = [type(event) for event in of_rank(events, 1)]
    assert kinds.index(Divergence) < kinds.index(EpochDone)


@pytest.mark.parametrize("figure", ["test loss inf", "weights"])
def test_what_only_the_last_step_broke_is_seen_too(
    run: Any, monkeypatch: pytest.MonkeyPatch, figure: str
) -> None:
    if figure == "weights":
        read = ThreadBackend.weights
        monkeypatch.setattr(
            ThreadBackend,
            "weights",
            lambda self: {name: array * np.float32(np.nan) for name, array in read(self).items()},
        )
        monkeypatch.setattr(ThreadBackend, "evaluate", lambda *_: Evaluation(23, 3, 50.0))
    else:
        monkeypatch.setattr(ThreadBackend, "evaluate", lambda *_: Evaluation(23, 3, np.inf))
    _, events = run("epochs=1")
    told = [str(event) for event in events if isinstance(event, Divergence)]
    assert told == [f"diverged at step {STEPS} of epoch 1 on rank 0: {figure}"]


def test_training_that_stays_finite_has_no_divergence(run: Any) -> None:
    _, events = run("epochs=2", "gpus=2", "learning_rate=10")
    assert not [event for event in events if isinstance(event, Divergence)]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("rate", [1.0, 1e20])
def test_the_ceiling_is_the_best_product_of_any_library(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    rate: float,
) -> None:
    own = {"its own": rate, "another": 0.5}
    monkeypatch.setattr(ThreadBackend, "matrix_product_rates", lambda self: own)
    events = train(replace(experiment(*STRONG, "epochs=1"), device=device), dataset)
    (ready,) = (event for event in events if isinstance(event, Ready))
    found, numpy = ready.resources, ready.resources["matrix_products"].get("NumPy's BLAS")
    # On a GPU, NumPy's products on the host are none to be held against.
    assert (numpy is None) == (device == "gpu")
    assert found["matrix_product_flops_per_s"] == max(rate, numpy or 0)
    best = "its own" if rate > (numpy or 0) else "NumPy's BLAS"
    assert found["matrix_product_library"] == best


def test_an_epoch_is_cut_into_spans(run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(clock, "SPAN_FLOPS", 1.0)
    _, events = run("epochs=1")
    assert [steps for steps, _ in epochs(events)[0].window.spans] == [10, 10, 10, 1]


def test_a_gpu_is_warmed_up_longer_and_its_epoch_cut_into_longer_spans(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "SPAN_FLOPS", 1.0)
    on_cpu = experiment(*STRONG, "epochs=1")
    on_gpu = replace(on_cpu, device="gpu")
    expected = epochs(train(on_cpu, dataset))[0]
    events = train(on_gpu, dataset)
    trained = [len(detail) for name, detail in World.current.calls[0] if name == "train"]
    assert trained == [1, STEPS, *[STEPS] * probes.GPU_WARM_UP_SPANS, STEPS, STEPS]
    done = epochs(events)[0]
    assert [steps for steps, _ in done.window.spans] == [STEPS]
    np.testing.assert_array_equal(done.losses, expected.losses)
    for one, passed in ((on_gpu, True), (on_cpu, False)):
        record = Record(one, dataset, 0.0)
        for event in events:
            record.add(event)
        assert checks.clock(record).passed is passed


def test_the_peak_of_device_memory_is_of_warm_up_and_epochs(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked once when build and limits are over, which are not of interest, and once at the end.
    peaks = [[999, 30 + rank] for rank in range(2)]
    monkeypatch.setattr(
        ThreadBackend, "peak_device_memory", lambda self: peaks[self._rank].pop(0), raising=False
    )
    _, events = run("epochs=2", "gpus=2")
    found = {e.rank: e.peak_device_memory_bytes for e in events if isinstance(e, Finished)}
    assert found == {0: 30, 1: 31}
    assert peaks == [[], []]


def test_the_peak_of_device_memory_is_unknown_on_a_cpu(run: Any) -> None:
    _, events = run("epochs=1")
    (done,) = (e for e in events if isinstance(e, Finished))
    assert done.peak_device_memory_bytes is None


@pytest.mark.parametrize(
    ("size", "choice"),
    [
        (1, ()),
        (2, ()),
        (1, ("optimizer=sgd",)),
        (2, ("optimizer=sgd", "optimizer.momentum=0.9", "rate.schedule=cosine")),
        (1, ("optimizer=adamw", "rate.schedule=step", "rate.drop_epochs=[2]")),
    ],
)
def test_a_run_from_a_state_ends_bit_equal_to_one_that_never_stopped(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    choice: tuple[str, ...],
) -> None:
    in_single_precision(monkeypatch)
    one = experiment(*STRONG, "epochs=4", f"gpus={size}", *choice)
    whole = train(one, dataset, checkpoint_every=1)
    given = [event for event in whole if isinstance(event, Checkpoint)]
    assert [(event.rank, event.epoch) for event in given] == [(0, n) for n in (1, 2, 3, 4)]
    for checkpoint in given:
        assert checkpoint.state is not None
        state = State.decoded(checkpoint.state, one.spec, one.program.moments)
        assert tuple(kind for kind in MOMENTS if state.arrays[kind]) == one.program.moments
        assert state.step == STEPS * checkpoint.epoch
        again = train(one, dataset, checkpoint_every=1, state=state)
        for rank in range(size):
            (end,) = (e for e in of_rank(again, rank) if isinstance(e, Finished))
            (expected,) = (e for e in of_rank(whole, rank) if isinstance(e, Finished))
            assert end.weights_sha256 == expected.weights_sha256
            # The seed's weights are what a rank that goes on shows before it takes the state.
            first, second = (
                next(e for e in of_rank(run, rank) if isinstance(e, Ready))
                for run in (whole, again)
            )
            assert first.weights_sha256 == second.weights_sha256
            left = epochs(whole, rank)[checkpoint.epoch :]
            for found, before in zip(epochs(again, rank), left, strict=True):
                assert found.epoch == before.epoch
                np.testing.assert_array_equal(found.losses, before.losses)
                np.testing.assert_array_equal(found.consumed, before.consumed)


@pytest.mark.parametrize(("every", "expected"), [(0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_a_state_is_given_after_every_so_many_epochs_and_the_last(
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    world: Callable[[int], World],
    every: int,
    expected: list[int],
) -> None:
    events = train(experiment(*STRONG, "epochs=5"), dataset, checkpoint_every=every)
    assert [event.epoch for event in events if isinstance(event, Checkpoint)] == expected


def test_warm_up_leaves_no_trace(run: Any, dataset: Dataset) -> None:
    experiment, events = run("epochs=1")
    states = [d for name, d in World.current.calls[0] if name == "set_optimizer_state"]
    assert [state.step for state in states] == [0, 0]
    assert not any(array.any() for array in states[-1].first_moment.values())
    expected = draw(experiment.spec, 3)
    ready = next(event for event in events if isinstance(event, Ready))
    assert ready.weights_sha256 == fingerprint(expected)
    (images, labels), _ = dataset.normalized()
    order = epoch_order(3, 0, len(labels), 4)
    losses = reference.losses(experiment.spec, expected, images, labels, order)
    np.testing.assert_allclose(epochs(events)[0].losses, losses, rtol=2e-7)


def test_weights_and_seed_go_together(run: Any) -> None:
    _, events = run("epochs=1")
    _, others = run("epochs=1", "seed=4")
    assert epochs(events)[0].losses[0] != epochs(others)[0].losses[0]
    assert not np.array_equal(epochs(events)[0].consumed, epochs(others)[0].consumed)


def test_events_come_in_order(run: Any) -> None:
    _, events = run("epochs=3", "gpus=2")
    for rank in range(2):
        kinds = [type(event) for event in of_rank(events, rank)]
        assert kinds == [Ready, EpochDone, EpochDone, EpochDone, Finished]
        assert [event.epoch for event in epochs(events, rank)] == [0, 1, 2]


def test_shapes_types_and_windows_of_an_epoch(run: Any) -> None:
    _, events = run("epochs=1", "gpus=2")
    for rank in range(2):
        done = epochs(events, rank)[0]
        assert (done.losses.shape, done.losses.dtype) == ((STEPS,), np.float32)
        assert (done.consumed.shape, done.consumed.dtype) == ((STEPS, 2), np.int32)
        assert [steps for steps, _ in done.window.spans] == [STEPS]
        assert all(seconds > 0 for _, seconds in done.window.spans)
        assert done.window.seconds >= sum(seconds for _, seconds in done.window.spans)


def test_the_backend_trains_exactly_what_is_reported_as_consumed(run: Any) -> None:
    _, events = run("epochs=2", "gpus=2")
    for rank in range(2):
        calls = World.current.calls[rank]
        begin = next(i for i, (name, _) in enumerate(calls) if name == "describe")
        trained = np.concatenate([d for name, d in calls[begin:] if name == "train"])
        consumed = np.concatenate([done.consumed for done in epochs(events, rank)])
        np.testing.assert_array_equal(trained, consumed)


def test_epochs_have_different_orders_without_repeats(run: Any) -> None:
    _, events = run("epochs=2")
    first, second = (done.consumed for done in epochs(events))
    assert np.unique(first).size == first.size == STEPS * 4
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_workers_does_the_same_mathematics(run: Any, size: int) -> None:
    alone, together = run("epochs=1")[1], run("epochs=1", f"gpus={size}")[1]
    one = epochs(alone)[0]
    parts = [epochs(together, rank)[0] for rank in range(size)]
    side_by_side = np.concatenate([part.consumed for part in parts], axis=1)
    np.testing.assert_array_equal(side_by_side, one.consumed)
    mean = np.mean([part.losses for part in parts], axis=0, dtype=np.float64)
    np.testing.assert_allclose(mean, one.losses, rtol=1e-6)
    finals = {e.weights_sha256 for e in together if isinstance(e, Finished)}
    assert len(finals) == 1


def test_evaluation_is_outside_the_window_and_covers_the_test_set_once(
    run: Any, dataset: Dataset
) -> None:
    _, events = run("epochs=1", "gpus=4")
    ranges = []
    for calls in World.current.calls:
        names = [name for name, _ in calls]
        barriers = [i for i, name in enumerate(names) if name == "barrier"]
        # The first ends the warm-up, the second begins the measurement of the limits.
        begin, end = barriers[2:4]
        assert set(names[begin + 1 : end]) == {"train"}
        ranges += [detail for name, detail in calls if name == "evaluate"]
    assert [i for part in sorted(ranges) for i in range(*part)] == list(range(23))
    assert sum(epochs(events, rank)[0].evaluation.samples for rank in range(4)) == 23


def test_only_rank_0_hands_the_weights_over(run: Any) -> None:
    _, events = run("epochs=1", "gpus=2")
    first, second = sorted((e for e in events if isinstance(e, Finished)), key=lambda e: e.rank)
    assert first.weights is not None and second.weights is None
    assert fingerprint(first.weights) == first.weights_sha256
    assert first.peak_memory_bytes > 10 * 2**20


@pytest.mark.parametrize(("live", "expected"), [(False, 0), (True, 4)])
def test_progress_only_when_live_and_from_rank_0(
    run: Any, monkeypatch: pytest.MonkeyPatch, live: bool, expected: int
) -> None:
    monkeypatch.setattr(one_epoch, "PROGRESS_INTERVAL_S", 0.0)
    monkeypatch.setattr(clock, "SPAN_FLOPS", 1.0)
    _, events = run("epochs=1", "gpus=2", live=live)
    told = [event for event in events if isinstance(event, Progress)]
    assert len(told) == expected
    assert [(p.rank, p.epoch, p.step) for p in told] == [(0, 0, n) for n in (10, 20, 30, 31)][
        :expected
    ]
    assert all(a.seconds < b.seconds for a, b in pairwise(told))
    losses = epochs(events)[0].losses
    assert [p.loss for p in told] == [float(losses[p.step - 1]) for p in told]


def test_progress_is_told_at_most_once_a_second(run: Any) -> None:
    assert one_epoch.PROGRESS_INTERVAL_S >= 1
    _, events = run("epochs=1", live=True)
    done = epochs(events)[0]
    told = [event for event in events if isinstance(event, Progress)]
    assert len(told) <= done.window.seconds / one_epoch.PROGRESS_INTERVAL_S


def test_resources_and_start_up_are_reported(run: Any) -> None:
    _, events = run("epochs=1", "threads_per_worker=2")
    ready = next(event for event in events if isinstance(event, Ready))
    assert ready.resources["threads"] == 2
    assert ready.resources["cpu_affinity"]
    causes = {"data", "framework_import", "process_group", "build", "warm_up", "limits"}
    assert set(ready.seconds) == causes | {"compile"}
    assert all(seconds >= 0 for seconds in ready.seconds.values())
    assert ready.seconds["compile"] <= ready.seconds["warm_up"]


@pytest.mark.parametrize("size", [1, 2])
def test_the_optimizer_is_seen_in_its_first_update(run: Any, size: int) -> None:
    _, events = run("epochs=1", f"gpus={size}")
    errors = [event.optimizer_error for event in events if isinstance(event, Ready)]
    # float32 weights below 1 hold an update of 1e-3 to 6e-8 / 1e-3.
    assert len(errors) == size and max(errors) < 1e-3


def test_an_optimizer_with_epsilon_elsewhere_is_seen(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras's Adam adds epsilon to the root before its bias correction."""

    class Elsewhere(reference.Adam):
        def step(self, weights: Any, gradients: Any, rate: float | None = None) -> Any:
            correction = np.sqrt(1 - self.beta2 ** (self.t + 1))
            self.epsilon = 1e-8 / correction
            return super().step(weights, gradients, rate)

    monkeypatch.setattr(optimizers, "Adam", Elsewhere)
    _, events = run("epochs=1")
    assert next(event for event in events if isinstance(event, Ready)).optimizer_error > 1e-2


def test_an_execution_that_the_backend_lacks_is_refused(run: Any) -> None:
    with pytest.raises(DistlabError) as caught:
        run("epochs=1", "execution=graph")
    assert "execution=graph" in caught.value.asked and caught.value.fix == "execution=eager"


def test_the_program_reaches_the_backend(run: Any) -> None:
    run("epochs=1", "gpus=2", "learning_rate=0.25", "optimizer.variant=stock")
    program = dict(World.current.calls[1])["build"]
    assert (program.local_batch, program.learning_rate) == (2, 0.25)
    assert (program.optimizer, program.execution) == ("stock", "eager")


def test_shared_data_are_mapped_before_the_first_epoch(tmp_path: Path) -> None:
    np.zeros(2**24, np.float32).tofile(tmp_path / "images")
    labels = np.zeros(3, np.int64)

    def faults(touched: bool) -> int:
        images = np.memmap(tmp_path / "images", np.float32, "r").reshape(-1, 1, 16, 16)
        if touched:
            loop._touch(((images, labels), (images[:0], labels[:0])))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert not images.any()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert faults(touched=True) < faults(touched=False) / 10
