"""The watch over the ranks, with a head and a kernel that are made up."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from distlab.cluster.watch import watching, witness
from distlab.cluster.watch.watching import Watch
from distlab.errors import RayLostError
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


class Mute:
    """A head that does not answer, and is lost when it is looked for once too often."""

    answers = False

    def __init__(self, looks: int) -> None:
        self._left = looks

    def check(self, now: bool = False) -> None:
        self._left -= 1
        if self._left < 0:
            raise RayLostError("its head does not answer", "logs")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_while_the_head_is_mute_no_other_host_is_asked_and_with_it_the_ranks_here_end(
    sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    head = Mute(looks=2)
    monkeypatch.setattr(watching.Head, "connected", lambda: head)
    monkeypatch.setattr(witness, "alive", lambda: pytest.fail("the head was asked"))
    watch = Watch(2, None)
    watch.heard(Started(0, socket.gethostname(), sleeper.pid, ended_for_memory=0))
    watch.heard(Started(1, "elsewhere", sleeper.pid + 1, ended_for_memory=0))
    assert watch.out_of_memory(1) == ""
    assert list(watch.doing([0, 1])) == [0]
    assert sleeper.poll() is None
    with pytest.raises(RayLostError):
        watch.ray_is_there()
    assert sleeper.wait(60) == -9
