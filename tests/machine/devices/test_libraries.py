"""Versions that made-up libraries tell of themselves, in a process that has loaded them."""

import subprocess
from pathlib import Path

import fresh_process

LIBRARIES = {
    "libcudnn.so.9": "unsigned long cudnnGetVersion(void) { return 91002; }",
    "libnccl.so.2": "int ncclGetVersion(int *to) { *to = 22703; return 0; }",
    "libcublas.so.13": "int cublasGetProperty(int part, int *to) { *to = 13 - part; return 0; }",
    # One that fails, and says so.
    "libcudart.so.13": "int cudaRuntimeGetVersion(int *to) { *to = 13000; return 35; }",
}
PROGRAM = """
import ctypes
from distlab.machine.devices import libraries

print(libraries.loaded())
for name in {names}:
    ctypes.CDLL(name)
print(libraries.loaded())
"""


def test_versions_are_asked_of_what_is_loaded_and_of_nothing_else(tmp_path: Path) -> None:
    for name, source in LIBRARIES.items():
        command = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / name), "-xc", "-"]
        subprocess.run(command, input=source, text=True, check=True)
    names = [str(tmp_path / name) for name in LIBRARIES]
    before, after = fresh_process.run(PROGRAM.format(names=names)).stdout.splitlines()
    assert before == "{}"
    assert after == "{'cublas': '13.12.11', 'cudnn': '9.10.2', 'nccl': '2.27.3'}"
    assert len(list(tmp_path.iterdir())) == len(LIBRARIES)


def test_a_runtime_that_answers_has_two_numbers(tmp_path: Path) -> None:
    name = tmp_path / "libcudart.so.12"
    source = "int cudaRuntimeGetVersion(int *to) { *to = 12060; return 0; }"
    command = ["cc", "-shared", "-fPIC", "-o", str(name), "-xc", "-"]
    subprocess.run(command, input=source, text=True, check=True)
    told = fresh_process.run(PROGRAM.format(names=[str(name)])).stdout.splitlines()
    assert told[-1] == "{'cudart': '12.6'}"
