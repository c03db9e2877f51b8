from typing import Any

import pytest

from distlab.measure.noise import CpuSeconds
from distlab.outcome.caveats import Caveat, Code
from distlab.outcome.hosts import Host, caveats

QUIET = CpuSeconds(wall=10.0, own=9.0, busy=20.0, stolen=0.0)


def host(threads: int, *resources: dict[str, Any], name: str = "here", **values: Any) -> Host:
    return Host(name, threads, resources, values.get("windows"))


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        # Both may use the same cores, or each has its own.
        ([{"cpus": 4, "cpu_affinity": [0, 1]}] * 2, 2),
        ([{"cpus": 4, "cpu_affinity": [0]}, {"cpus": 4, "cpu_affinity": [3]}], 2),
        ([{"cpus": 4}, {"cpus": 4}], 4),
        ([{}], None),
        ([], None),
    ],
)
def test_the_cores_are_those_that_the_ranks_may_use_together(
    resources: list[dict[str, Any]], cores: int | None
) -> None:
    assert host(2, *resources).cores == cores


def test_what_counts_are_the_cores_that_may_be_used_and_not_those_of_the_machine() -> None:
    two = [{"cpus": 4, "cpu_affinity": [0]}] * 2
    assert caveats([host(2, *two)]) == [Caveat(Code.oversubscribed, "2 threads on 1 core of here")]
    assert caveats([host(2, *[{"cpus": 4, "cpu_affinity": [0, 1]}] * 2)]) == []
    assert caveats([host(9)]) == []


def test_each_host_has_its_own_caveats_and_unlike_ones_are_named() -> None:
    large, small = {"cpu_affinity": [0, 1, 2, 3]}, {"cpu_affinity": [0, 1]}
    found = caveats([host(3, large, name="a"), host(3, small, name="b")])
    assert [str(one) for one in found] == [
        "oversubscribed (3 threads on 2 cores of b)",
        "unlike hosts (4 cores on a, 2 cores on b)",
    ]
    assert caveats([host(2, small, name="a"), host(2, small, name="b")]) == []


def test_a_host_is_noisy_if_others_used_what_the_run_needed() -> None:
    four = {"cpus": 4}
    busy = CpuSeconds(wall=10.0, own=9.0, busy=45.0, stolen=0.0)
    assert caveats([host(2, four, windows=[[QUIET], [QUIET]])]) == []
    (found,) = caveats([host(2, four, windows=[[busy], [busy]])])
    assert found.code is Code.noisy and "2 of 4 were free" in found.detail
    assert host(2, four).load is None
