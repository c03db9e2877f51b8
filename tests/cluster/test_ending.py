"""Which worker is blamed when a run ends early."""

from collections.abc import Callable, Iterable

import pytest

from distlab.cluster.ending import failing, too_slow
from distlab.errors import DistlabError, StalledError, WorkerError
from distlab.machine.process import Doing
from distlab.outcome.events import Failed

Look = Callable[[Iterable[int]], dict[int, Doing]]


def doing(*states: str) -> Look:
    return lambda ranks: {rank: Doing(states[rank]) for rank in ranks}


FAILED = Failed(0, "UnavailableError: Graph execution error:", "", None)
TOLD = "worker 0 on a failed: UnavailableError: Graph execution error:"


def test_a_rank_that_fails_for_want_of_one_that_is_stopped_is_not_blamed() -> None:
    error = failing(
        FAILED, ["a", "b", "c"], ["0", "1", "2"], doing("running", "waiting", "stopped")
    )
    assert isinstance(error, StalledError) and error.ranks == [2]
    assert str(error) == f"worker 2 on c is stopped; {TOLD}"
    assert error.log == "2" and error.may_pass and not error.raised


@pytest.mark.parametrize("state", ["running", "waiting", "ended", "not to be reached"])
def test_a_rank_that_fails_is_blamed_whatever_else_the_others_do(state: str) -> None:
    error = failing(FAILED, ["a", "b"], ["0", "1"], doing("running", state))
    assert type(error) is WorkerError and str(error) == TOLD
    assert error.log == "0" and error.raised


def test_a_start_that_takes_too_long_says_what_workers_do_and_blames_those_that_are_stopped() -> (
    None
):
    late, does = {1: "b", 0: "a"}, doing("waiting", "running")([0, 1])
    slow = too_slow(60, 3, 2, late, does, "log")
    assert isinstance(slow, DistlabError)
    assert slow.found == "2 of them started; not ready: ranks 0 on a (waiting), 1 on b (running)"
    stalled = too_slow(60, 3, 2, late, {**does, 1: Doing("stopped")}, "log")
    assert isinstance(stalled, StalledError) and stalled.ranks == [1]
    assert str(stalled) == "not ready after 60 s: worker 0 on a (waiting); worker 1 on b (stopped)"
