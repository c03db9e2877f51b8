"""What torch's compiled steps need, without torch in the test's process."""

import sys
from importlib.util import find_spec
from pathlib import Path

import fresh_process
import pytest

import distlab

BACKEND = Path(distlab.__file__).parent / "backends" / "torch"
TF32_ADVICE = "TensorFloat32 tensor cores"

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


def test_the_advice_on_tf32_that_is_kept_from_logs_is_still_torchs() -> None:
    found = find_spec("torch")
    if found is None or found.origin is None:
        pytest.skip('PyTorch is not installed: pip install "distlab[torch]"')
    source = (Path(found.origin).parent / "_inductor" / "compile_fx.py").read_text()
    assert f'"{TF32_ADVICE}' in source
    assert f'message="{TF32_ADVICE}"' in (BACKEND / "graph.py").read_text()
