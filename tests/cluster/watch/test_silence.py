"""When a rank's silence counts, on a clock that the test turns."""

import numpy as np
import pytest

from distlab.backends.base import Evaluation
from distlab.cluster.watch import silence
from distlab.cluster.watch.silence import SHORTEST_S, TURN_S, Silence
from distlab.measure.clock import Window
from distlab.outcome.events import EpochDone, Finished, Progress, Ready


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(silence, "time", one)
    return one


def wait(watch: Silence, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / TURN_S)):
        clock.now += TURN_S
        watch.turn()


def ready(rank: int, seconds: float = 1.0) -> Ready:
    return Ready(rank, "", 0.0, {}, {"warm_up": seconds})


def done(rank: int, span_s: float) -> EpochDone:
    window = Window(3 * span_s, ((10, span_s),) * 3)
    nothing = np.zeros(0, np.float32)
    return EpochDone(rank, 0, window, nothing, np.zeros((0, 1), np.int32), Evaluation(0, 0, 0.0))


def test_no_silence_counts_before_all_ranks_are_ready(clock: Clock) -> None:
    watch = Silence(2)
    watch.heard(ready(0))
    wait(watch, clock, 10 * SHORTEST_S)
    assert watch.failed() == watch.warned() == []


def test_a_silence_is_told_once_and_then_fails(clock: Clock) -> None:
    watch = Silence(2)
    for rank in (0, 1):
        watch.heard(ready(rank))
    wait(watch, clock, SHORTEST_S / 2)
    assert watch.warned() == []
    wait(watch, clock, TURN_S)
    assert (watch.warned(), watch.warned(), watch.failed()) == ([0, 1], [], [])
    watch.heard(Progress(0, 0, 10, 1.0, 0.5))
    wait(watch, clock, SHORTEST_S / 2)
    # Rank 0 has been silent for half of the time only, and is not told of.
    assert watch.failed() == [1]
    assert watch.seconds(1) > SHORTEST_S > watch.seconds(0)
    assert watch.warned() == []
    wait(watch, clock, TURN_S)
    assert watch.warned() == [0] and watch.failed() == [0, 1]


@pytest.mark.parametrize(
    ("event", "limit_s"),
    [
        (ready(0, 30.0), 300.0),
        (done(0, 20.0), 200.0),
        (Progress(0, 0, 10, 50.0, 0.5, quiet_s=500.0), 500.0),
    ],
)
def test_a_slow_rank_has_ten_times_as_long_as_it_takes(
    event: Ready | EpochDone | Progress, limit_s: float, clock: Clock
) -> None:
    watch = Silence(1)
    watch.heard(ready(0))
    watch.heard(event)
    wait(watch, clock, limit_s)
    assert watch.failed() == []
    wait(watch, clock, TURN_S)
    assert watch.failed() == [0]


def test_what_one_evaluation_may_take_is_not_given_to_later_steps(clock: Clock) -> None:
    watch = Silence(1)
    watch.heard(ready(0))
    watch.heard(Progress(0, 0, 10, 50.0, 0.5, quiet_s=500.0))
    watch.heard(done(0, 0.1))
    assert watch.limit_s(0) == SHORTEST_S


def test_what_the_user_asks_for_holds(clock: Clock) -> None:
    watch = Silence(1, asked_s=6.0)
    watch.heard(ready(0, 30.0))
    wait(watch, clock, 8.0)
    assert watch.failed() == [0]


def test_a_driver_that_was_stopped_blames_nobody(clock: Clock) -> None:
    watch = Silence(1)
    watch.heard(ready(0))
    clock.now += 1e6
    watch.turn()
    assert watch.failed() == watch.warned() == []


def test_a_rank_that_has_finished_may_be_silent(clock: Clock) -> None:
    watch = Silence(2)
    for rank in (0, 1):
        watch.heard(ready(rank))
    watch.heard(Finished(0, "", 0))
    wait(watch, clock, 2 * SHORTEST_S)
    assert watch.failed() == [1]
