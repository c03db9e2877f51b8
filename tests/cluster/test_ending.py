"""Which worker is blamed when a run ends early."""

from collections.abc import Iterable
from typing import Any

import pytest

from distlab.cluster.ending import failing, too_slow
from distlab.errors import DistlabError, StalledError, WorkerError
from distlab.machine.process import Doing
from distlab.outcome.events import Failed


class Watched:
    """A watch that finds what it is told; ranks have been silent for some seconds."""

    def __init__(self, *states: str, silent_s: float = 0.0) -> None:
        self._states, self._silent_s = states, silent_s

    def doing(self, ranks: Iterable[int]) -> dict[int, Doing]:
        return {rank: Doing(self._states[rank]) for rank in ranks}

    def seconds(self, rank: int) -> float:
        return self._silent_s


FAILED = Failed(0, "UnavailableError: Graph execution error:", "", None)
TOLD = "worker 0 on a failed: UnavailableError: Graph execution error:"


def failed(hosts: str, watched: Any) -> WorkerError:
    return failing(FAILED, list(hosts), [f"log of {host}" for host in hosts], watched)


def test_a_rank_that_fails_for_want_of_one_that_is_stopped_is_not_blamed() -> None:
    error = failed("abc", Watched("running", "waiting", "stopped"))
    assert isinstance(error, StalledError) and error.ranks == [2]
    assert str(error) == f"worker 2 on c is stopped; {TOLD}"
    assert error.log == "log of c" and error.may_pass and not error.raised


def test_of_one_that_computes_while_others_fail_it_is_told_if_it_is_silent() -> None:
    error = failed("abc", Watched("running", "running", "waiting", silent_s=9.0))
    assert type(error) is WorkerError and error.raised and error.log == "log of a"
    assert str(error) == f"{TOLD}; worker 1 on b is running"
    assert str(failed("abc", Watched("running", "running", "waiting", silent_s=1.0))) == TOLD


@pytest.mark.parametrize("state", ["waiting", "ended", "not to be reached"])
def test_of_others_that_fail_or_wait_nothing_is_told(state: str) -> None:
    assert str(failed("ab", Watched("running", state, silent_s=9.0))) == TOLD


def test_a_start_that_takes_too_long_says_what_workers_do_and_blames_those_that_are_stopped() -> (
    None
):
    late, does = {1: "b", 0: "a"}, Watched("waiting", "running").doing([0, 1])
    slow = too_slow(60, 3, 2, late, does, "log")
    assert isinstance(slow, DistlabError)
    assert slow.found == "2 of them started; not ready: ranks 0 on a (waiting), 1 on b (running)"
    assert "CUDA" not in slow.fix
    on_gpus = too_slow(60, 3, 2, late, does, "log", "gpu")
    assert isinstance(on_gpus, DistlabError) and "cluster.start_timeout_s=3600" in on_gpus.fix
    assert "compiles its kernels at first use" in on_gpus.fix and "CUDA_CACHE_PATH" in on_gpus.fix
    stalled = too_slow(60, 3, 2, late, {**does, 1: Doing("stopped")}, "log")
    assert isinstance(stalled, StalledError) and stalled.ranks == [1]
    assert str(stalled) == "not ready after 60 s: worker 0 on a (waiting); worker 1 on b (stopped)"
