"""What a process may use: made-up machines, and a real affinity."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distlab.errors import DistlabError
from distlab.machine import cores as module
from distlab.machine.cores import CPUS, Cores, by_sibling, keep_near, shares, usable


def machine(root: Path, files: dict[str, str]) -> Path:
    """Files by their path below ``/sys/devices/system/cpu``."""
    for name, text in files.items():
        (root / CPUS / name).parent.mkdir(parents=True, exist_ok=True)
        (root / CPUS / name).write_text(text + "\n")
    return root


def siblings(**lists: str) -> dict[str, str]:
    return {f"{core}/topology/thread_siblings_list": text for core, text in lists.items()}


def test_cores_that_share_a_physical_one(tmp_path: Path) -> None:
    root = machine(tmp_path, siblings(cpu0="0,4", cpu1="1,5", cpu4="0,4", cpu5="1,5", cpu6="6"))
    assert by_sibling([5, 4, 0, 1, 6], root) == [(0, 4), (1, 5), (6,)]
    assert by_sibling([4, 5], root) == [(4,), (5,)]
    assert by_sibling([7, 9], root) == [(7,), (9,)]  # nothing is told of them
    assert usable(root, [0, 4, 5]).physical == 2


def test_governor_and_turbo_where_they_can_be_read(tmp_path: Path) -> None:
    governors = {"cpu0/cpufreq/scaling_governor": "powersave"}
    intel = machine(tmp_path / "intel", {**governors, "intel_pstate/no_turbo": "1"})
    found = usable(intel, [0])
    assert (found.governor, found.turbo) == ("powersave", False)
    governors["cpu1/cpufreq/scaling_governor"] = "performance"
    other = machine(tmp_path / "other", {**governors, "cpufreq/boost": "1"})
    found = usable(other, [0, 1])
    assert (found.governor, found.turbo) == ("performance,powersave", True)
    assert usable(other, [1]).governor == "performance"
    found = usable(tmp_path, [0])
    assert (found.governor, found.turbo, found.quota) == (None, None, None)


def test_a_quota_leaves_fewer_threads_than_cores() -> None:
    assert Cores(8, (0, 1, 2), 3).usable == 3
    assert Cores(8, (0, 1, 2), 3, quota=1.5).usable == 1.5
    assert Cores(8, (0, 1, 2), 3, quota=4.0).usable == 3


def test_workers_have_whole_physical_cores_of_their_own(tmp_path: Path) -> None:
    packages = {f"cpu{core}/topology/physical_package_id": str(core % 2) for core in range(8)}
    pairs = siblings(**{f"cpu{core}": f"{core % 4},{core % 4 + 4}" for core in range(8)})
    root = machine(tmp_path, {**packages, **pairs})
    # Cores 0 and 2 (with 4 and 6) are in one package, 1 and 3 (with 5 and 7) in the other.
    assert shares(range(8), 2, 2, root) == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert shares(range(8), 4, 1, root) == [(0, 4), (2, 6), (1, 5), (3, 7)]
    assert shares(range(8), 1, 1, root) == [tuple(range(8))]
    # One may be left over; with more threads than physical cores, threads of one stay together.
    assert shares(range(8), 3, 1, root) == [(0, 4), (2, 6), (1, 5)]
    assert shares(range(8), 2, 4, root) == [(0, 2, 4, 6), (1, 3, 5, 7)]
    assert shares([0, 1, 4], 3, 1, root) == [(0,), (4,), (1,)]


@pytest.mark.parametrize(("workers", "threads"), [(3, 1), (1, 3), (2, 2)])
def test_too_few_cores_for_the_workers_are_refused(workers: int, threads: int) -> None:
    with pytest.raises(DistlabError, match="2 cores may be used") as caught:
        shares([0, 1], workers, threads)
    assert "pin=null" in caught.value.fix


def test_a_real_affinity_counts_and_not_the_machines_cores() -> None:
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{core}]);"
        "from distlab.machine.cores import usable; print(usable().allowed, usable().machine)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"({core},) {os.cpu_count()}\n", done.stderr


@pytest.mark.parametrize(
    ("near", "now", "kept"),
    [
        ({1, 9}, {0, 1}, {1}),  # a socket
        ({8, 9}, {0, 1}, None),  # which may not be used
        (set(), {0, 1}, None),  # not known
        ({1}, {0}, None),  # it has a core of its own already
    ],
)
def test_a_thread_is_kept_near_its_device(
    near: set[int], now: set[int], kept: set[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[set[int]] = []
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: now)
    monkeypatch.setattr(module.os, "sched_setaffinity", lambda pid, mask: set_to.append(mask))
    keep_near(near, Cores(2, (0, 1), 2))
    assert set_to == ([] if kept is None else [kept])
