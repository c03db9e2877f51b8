"""What torch's compiled steps need, without torch in the test's process."""

import os
import subprocess
import sys

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
    inherited = {name: value for name, value in os.environ.items() if name != "CC"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == found
