from typing import Any

import pytest

from distlab.machine.load import CpuSeconds
from distlab.outcome.caveats import Caveat, Code
from distlab.outcome.hosts import Host, caveats

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
