"""The README's commands, run as they stand; ``make quickstart`` and ``make test`` are CI itself."""

import re
import shlex
import sys
from pathlib import Path

import command
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines() if line]
LAUNCHES = [line for line in LINES if line.startswith("python -m distlab.launch")]

# Commands for machines that a test has not: what must be said instead of running them.
REFUSALS = {
    "framework=torch gpus=4": ["Ray has 0 GPUs", "gpus=4 device=cpu"],
    "cluster=existing": ["ray start --head"],
}


def test_every_command_line_is_known() -> None:
    known = ("python -m distlab.launch", "make quickstart", "make test", "ray start")
    assert LAUNCHES
    assert [line for line in LINES if not line.startswith(known)] == []


@pytest.mark.slow
@pytest.mark.parametrize("line", LAUNCHES)
def test_launch_command(line: str, tmp_path: Path) -> None:
    words = shlex.split(line.split("  #")[0])[3:]
    # The only placeholder in the README's commands: the Python of another environment.
    words = [word.replace("/opt/venvs/paddle/bin/python", sys.executable) for word in words]
    ended = command.run(tmp_path, *words)
    refused = next((said for part, said in REFUSALS.items() if part in line), None)
    if refused is None:
        assert ended.code == 0, ended.err
        assert ended.out
    else:
        assert ended.code == 1
        assert all(words in ended.err for words in refused), ended.err
        assert "Traceback" not in ended.err
