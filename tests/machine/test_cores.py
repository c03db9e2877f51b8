"""What a process may use: made-up machines, and a real affinity."""

import os
import subprocess
import sys
from pathlib import Path

from distlab.machine.cores import CPUS, Cores, by_sibling, usable


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


def test_a_real_affinity_counts_and_not_the_machines_cores() -> None:
    core = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{core}]);"
        "from distlab.machine.cores import usable; print(usable().allowed, usable().machine)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"({core},) {os.cpu_count()}\n", done.stderr
