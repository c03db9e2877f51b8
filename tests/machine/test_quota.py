"""Quotas of CPU time: made-up trees of all the kinds there are, and a real group."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distlab.machine.quota import bounds

V1_CPU = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_SET = "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"
V2 = "41 31 0:38 {root} /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate"


def tree(root: Path, mounts: list[str], groups: str, files: dict[str, str]) -> Path:
    """Made-up ``/proc`` and ``/sys``; files by their path below ``/sys/fs/cgroup``."""
    told = {"proc/self/mountinfo": "\n".join(mounts), "proc/self/cgroup": groups}
    for name, text in {**told, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def v1(quota: int, throttled_ns: int = 0, period: int = 100_000) -> dict[str, str]:
    stat = f"nr_periods 9\nnr_throttled 3\nthrottled_time {throttled_ns}"
    return {"cpu.cfs_quota_us": str(quota), "cpu.cfs_period_us": str(period), "cpu.stat": stat}


def v2(quota: str, throttled_us: int = 0) -> dict[str, str]:
    return {"cpu.max": quota, "cpu.stat": f"usage_usec 7\nthrottled_usec {throttled_us}"}


def at(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}".lstrip("/"): text for name, text in files.items()}


def test_of_nested_groups_each_that_bounds_is_told(tmp_path: Path) -> None:
    files = {
        **at("", {"cpu.stat": "usage_usec 7"}),  # the root group has no cpu.max
        **at("a", v2("150000 100000", 2_000_000)),
        **at("a/b", v2("max 100000")),
        **at("a/b/c", v2("400000 100000", 500_000)),
        **at("a/other", v2("1000 100000")),
    }
    found = bounds(tree(tmp_path, [V2.format(root="/")], "0::/a/b/c", files))
    assert [group.cores for group in found] == [4.0, 1.5]
    assert [group.throttled_s() for group in found] == [0.5, 2.0]


def test_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    files = {
        **at("cpu,cpuacct", v1(-1)),
        **at("cpu,cpuacct/job", v1(50_000, 458_446_478)),
        **at("cpuset", {"cpuset.cpus": "0"}),
    }
    mounts = [V1_SET, V1_CPU.format(root="/"), V2.format(root="/").replace("cgroup rw", "u rw", 1)]
    groups = "3:cpuset:/job\n1:cpuacct,cpu:/job\n0::/user.slice"
    (found,) = bounds(tree(tmp_path, mounts, groups, files))
    assert found.cores == 0.5
    assert found.throttled_s() == pytest.approx(0.458446478)


@pytest.mark.parametrize("path", ["/docker/abc", "/elsewhere", "/../../host"])
def test_in_a_container_its_own_group_is_at_the_top(path: str, tmp_path: Path) -> None:
    """The kernel names it as the host does, or by a path that leads out of what is shown."""
    files = at("cpu,cpuacct", v1(250_000))
    mounts = [V1_CPU.format(root="/docker/abc")]
    (found,) = bounds(tree(tmp_path, mounts, f"1:cpu,cpuacct:{path}", files))
    assert found.cores == 2.5


@pytest.mark.parametrize("quota", ["-1", "", "max", "nonsense"])
def test_without_a_quota_nothing_bounds(quota: str, tmp_path: Path) -> None:
    files = at("cpu,cpuacct", {**v1(0), "cpu.cfs_quota_us": quota})
    assert bounds(tree(tmp_path, [V1_CPU.format(root="/")], "1:cpu,cpuacct:/", files)) == ()
    assert bounds(tmp_path / "nothing at all") == ()


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A real group with a quota of half a core; needs root and control groups of version 1."""
    folder = Path("/sys/fs/cgroup/cpu") / f"distlab-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group of version 1 can be made here")
    try:
        (folder / "cpu.cfs_quota_us").write_text("50000")
        yield folder
    finally:
        folder.rmdir()


SPIN = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from distlab.machine import cores, quota
(group,) = quota.bounds()
assert group.cores == cores.usable().quota == cores.usable().usable == 0.5, group
before = group.throttled_s()
while group.throttled_s() == before:
    pass
print("throttled")
"""


def test_a_real_quota_is_seen_from_within(half_a_core: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPIN, half_a_core], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "throttled\n", done.stderr
