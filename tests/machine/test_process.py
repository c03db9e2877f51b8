"""What a process does, seen from outside: real processes that compute, wait and are stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distlab.machine.process import Doing, doing

PROGRAM = """
import faulthandler, signal, threading, time
faulthandler.register(signal.SIGUSR2, file=2)
threading.Thread(target=threading.Event().wait, daemon=True).start()
def loop():
    while True:
        {line}
print("there", flush=True)
loop()
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen]]:
    started = []

    def start(program: str) -> subprocess.Popen:
        file = tmp_path / "program.py"
        file.write_text(program)
        with (tmp_path / "log").open("w") as log:
            one = subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, stderr=log)
        started.append(one)
        assert one.stdout is not None and one.stdout.readline()
        return one

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize(("line", "state"), [("pass", "running"), ("time.sleep(600)", "waiting")])
def test_who_computes_and_who_waits_is_told_with_the_line(
    line: str, state: str, process: Callable[[str], subprocess.Popen], tmp_path: Path
) -> None:
    one = process(PROGRAM.format(line=line))
    found = doing(one.pid, str(tmp_path / "log"), "program.py")
    assert found.state == state
    assert found.place in {f"program.py:{number} in loop" for number in (6, 7)}
    assert str(found) == f"{state} at {found.place}"


def test_a_stopped_process_and_one_that_ended(
    process: Callable[[str], subprocess.Popen], tmp_path: Path
) -> None:
    one = process(PROGRAM.format(line="pass"))
    os.kill(one.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT)
    assert doing(one.pid, str(tmp_path / "log")) == Doing("stopped")
    one.kill()
    os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
    assert doing(one.pid, str(tmp_path / "log")) == Doing("ended")


def test_a_process_that_does_not_expect_to_be_asked_goes_on(
    process: Callable[[str], subprocess.Popen], tmp_path: Path
) -> None:
    one = process("import time\nprint(1, flush=True)\ntime.sleep(600)")
    assert doing(one.pid, str(tmp_path / "log")) == Doing("waiting")
    time.sleep(0.1)
    assert one.poll() is None
