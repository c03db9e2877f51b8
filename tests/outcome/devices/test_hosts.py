from typing import Any

import pytest

from distlab.machine.load import CpuSeconds
from distlab.outcome.caveats import Caveat, Code
from distlab.outcome.devices.hosts import Host, caveats

QUIET = CpuSeconds(wall=10.0, own=9.0, busy=20.0, stolen=0.0)


def host(threads: int, *resources: dict[str, Any], name: str = "here", **values: Any) -> Host:
    return Host(name, threads, resources, values.get("windows"))


def may_use(*cores: int, quota: float | None = None) -> dict[str, Any]:
    return {"cores": {"machine": 4, "allowed": list(cores), "quota": quota}}


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        # Both may use the same cores, or each has its own.
        ([may_use(0, 1), may_use(0, 1)], 2),
        ([may_use(0), may_use(3)], 2),
        ([may_use(0, 1, quota=0.5)] * 2, 0.5),
        ([may_use(0, 1, quota=3.0)] * 2, 2),
        ([{}], 0),
        ([], 0),
    ],
)
def test_the_cores_are_those_that_the_ranks_may_use_together(
    resources: list[dict[str, Any]], cores: float
) -> None:
    assert host(2, *resources).usable == cores


def test_what_counts_are_the_cores_that_may_be_used_and_not_those_of_the_machine() -> None:
    (found,) = caveats([host(2, may_use(0), may_use(0))])
    assert found == Caveat(Code.oversubscribed, "2 threads on 1 core of here")
    (found,) = caveats([host(1, may_use(0, 1, quota=0.5))])
    assert found == Caveat(Code.oversubscribed, "1 thread on 0.5 cores of here")
    assert caveats([host(2, may_use(0, 1), may_use(0, 1))]) == []
    assert caveats([host(9)]) == []


@pytest.mark.parametrize(
    ("affinities", "allowed", "threads", "expected"),
    [
        ([[0], [0]], [0, 1], 2, "2 threads of here are bound to core 0, of 2"),
        ([[0], [0], [0, 1]], [0, 1, 2], 3, "bound to cores 0, 1, one worker to 1, of 3"),
        ([[0, 1], [2]], [0, 1, 2, 3], 4, "bound to cores 0, 1, 2, one worker to 1, of 4"),
        # As the host gives them, or each its own, they have what there is.
        ([[0], [0]], [0], 2, None),
        ([[0], [1]], [0, 1], 2, None),
        ([[0, 1], [0, 1]], [0, 1], 2, None),
        ([[0, 1], [2, 3]], [0, 1, 2, 3], 4, None),
    ],
)
def test_ranks_that_bound_themselves_to_fewer_cores_are_told(
    affinities: list[list[int]], allowed: list[int], threads: int, expected: str | None
) -> None:
    ranks = [{**may_use(*allowed), "cpu_affinity": affinity} for affinity in affinities]
    found = [one.detail for one in caveats([host(threads, *ranks)]) if one.code is Code.bound]
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_a_run_that_its_quota_stopped_is_throttled() -> None:
    def found(throttled: float) -> list[Caveat]:
        window = CpuSeconds(wall=10.0, own=9.0, busy=18.0, stolen=0.0, throttled=throttled)
        return caveats([host(2, may_use(0, 1), may_use(0, 1), windows=[[window], [window]])])

    assert found(throttled=0.19) == []
    assert found(5.0) == [Caveat(Code.throttled, "for 25% of the time by its CPU quota on here")]


def test_threads_that_share_physical_cores_are_said_and_still_ranked() -> None:
    def smt(*allowed: int) -> dict[str, Any]:
        return {"cores": {"machine": 4, "allowed": list(allowed), "physical": 2, "quota": None}}

    four = smt(0, 1, 2, 3)
    (found,) = caveats([host(3, four, four, four)])
    assert found == Caveat(Code.shared_cores, "3 threads on 2 physical cores of here")
    assert found.code.ranked
    assert caveats([host(2, four, four)]) == []
    (found,) = caveats([host(5, four)])
    assert found.code is Code.oversubscribed
    # Cores that differ from rank to rank may or may not be siblings.
    assert caveats([host(2, smt(0), smt(1))]) == []


def test_each_host_has_its_own_caveats_and_unlike_ones_are_named() -> None:
    large, small = may_use(0, 1, 2, 3), may_use(0, 1)
    found = caveats([host(3, large, name="a"), host(3, small, name="b")])
    assert [str(one) for one in found] == [
        "oversubscribed (3 threads on 2 cores of b)",
        "unlike hosts (4 cores on a, 2 cores on b)",
    ]
    assert caveats([host(2, small, name="a"), host(2, small, name="b")]) == []


def test_a_host_is_noisy_if_others_used_what_the_run_needed() -> None:
    four = may_use(0, 1, 2, 3)
    busy = CpuSeconds(wall=10.0, own=9.0, busy=45.0, stolen=0.0)
    assert caveats([host(2, four, windows=[[QUIET], [QUIET]])]) == []
    (found,) = caveats([host(2, four, windows=[[busy], [busy]])])
    assert found.code is Code.noisy and "2 of 4 were free" in found.detail
    assert host(2, four).load is None
