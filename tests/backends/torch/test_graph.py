"""What torch's compiled steps need, without torch in the test's process."""

import sys
from pathlib import Path

import fresh_process
import pytest

CHECK = """
import sysconfig
from distlab.backends.torch.graph import require_c_compiler
from distlab.errors import DistlabError
sysconfig.get_path = lambda name: HEADERS
try:
    require_c_compiler()
except DistlabError as error:
    print(error.found.rpartition(", and ")[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "headers", "found"),
    [
        ({}, True, ""),
        ({}, False, "there is no /none/Python.h"),
        ({"PATH": ""}, True, "there is no gcc"),
        ({"CC": "no-cc"}, True, "there is no no-cc"),
        ({"PATH": "", "CC": sys.executable}, True, ""),
    ],
)
def test_a_gpus_compiler_needs_a_c_compiler_and_pythons_header(
    environment: dict[str, str], headers: bool, found: str, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    check = CHECK.replace("HEADERS", repr(str(tmp_path) if headers else "/none"))
    assert fresh_process.run(check, **environment).stdout.strip() == found


RECORD = """
import contextlib
from types import SimpleNamespace

import torch

calls = []
stream = SimpleNamespace(wait_stream=lambda other: None)
torch.cuda = SimpleNamespace(
    Stream=lambda device: stream,
    stream=lambda one: contextlib.nullcontext(),
    current_stream=lambda device: stream,
    synchronize=lambda device: None,
    CUDAGraph=lambda: None,
    graph=lambda graph, stream: contextlib.nullcontext(),
    reset_peak_memory_stats=lambda device: calls.append("reset"),
    max_memory_allocated=lambda device: calls.append("read") or 77,
)
from distlab.backends.torch.cuda_graph import RecordedStep

def step(batch, scales):
    calls.append("step")
    return torch.zeros(())

recorded = RecordedStep(step, 4, torch.zeros(7), torch.device("cpu"))
print(recorded.peak, *calls)
"""


@pytest.mark.slow
def test_a_recorded_steps_peak_is_that_of_its_recording_and_not_of_its_warm_up() -> None:
    assert fresh_process.run(RECORD).stdout.split() == [
        *("77", "step", "step", "step", "reset", "step", "read")
    ]
