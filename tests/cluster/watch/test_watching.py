"""What the watch over the ranks adds to the death of one, on a host whose kernel is made up."""

import socket
from pathlib import Path

import pytest

from distlab.cluster.watch import watching
from distlab.cluster.watch.watching import Watch
from distlab.machine import process
from distlab.outcome.events import Started


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (3, "oom_kill 3", ""),
        (3, "oom_kill 4", "has ended 1 process for want of memory"),
        (3, "oom_kill 6", "has ended 3 processes for want of memory"),
        (None, "oom_kill 6", ""),
        (3, "pgfault 6", ""),
    ],
)
def test_a_death_beside_the_kernels_memory_killer_is_told_with_it(
    before: int | None, now: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text(f"pgfault 9\n{now}\n")
    monkeypatch.setattr(process, "VMSTAT", vmstat)
    monkeypatch.setattr(watching.Head, "connected", lambda: None)
    watch, host = Watch(2, None), socket.gethostname()
    watch.heard(Started(1, host, 7, ended_for_memory=before))
    found = watch.out_of_memory(1)
    assert told in found and bool(told) == bool(found)
    assert not told or (f"the kernel of {host} " in found and "fewer workers" in found)
    assert watch.out_of_memory(0) == ""


def test_the_kernel_of_this_machine_tells_or_does_not() -> None:
    found = process.ended_for_memory()
    assert found is None or found >= 0
