"""What torch's compiled steps need, without torch in the test's process."""

import sys

import fresh_process
import pytest

CHECK = """
from distlab.backends.torch.graph import require_c_compiler
from distlab.errors import DistlabError
try:
    require_c_compiler()
except DistlabError as error:
    print(error.found)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ""),
        ({"PATH": ""}, "torch needs a C compiler to compile for a GPU, and there is no gcc"),
        ({"CC": "no-cc"}, "torch needs a C compiler to compile for a GPU, and there is no no-cc"),
        ({"PATH": "", "CC": sys.executable}, ""),
    ],
)
def test_a_gpus_compiler_needs_a_c_compiler(environment: dict[str, str], found: str) -> None:
    assert fresh_process.run(CHECK, **environment).stdout.strip() == found
