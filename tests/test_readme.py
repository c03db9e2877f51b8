"""The README's commands, run as they stand; ``make quickstart`` and ``make test`` are CI itself."""

import re
import shlex
import sys
from pathlib import Path

import command
import pytest

ROOT = Path(__file__).parent.parent


def blocks(name: str) -> list[str]:
    """The blocks of commands in a document."""
    return re.findall(r"^```bash\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


BLOCKS = blocks("README.md")
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines() if line]
PYTHON = "python -m distlab."
# The commands of a block follow each other in one folder.
BLOCKS_RUN = [block for block in BLOCKS if PYTHON in block]

SUMMARIES = "outputs/*/*/summary.json"
EXISTING = "cluster=existing"
NOWHERE = "127.0.0.1:1"  # a port that only root may listen at, and nobody does

# Commands for machines that a test has not: what must be said instead of running them.
MORE_GPUS = "framework=torch gpus=4"
REFUSALS = {
    MORE_GPUS: ["gpus=4", "Ray has 0 GPUs", "gpus=4 device=cpu"],
    EXISTING: [NOWHERE, "ray start --head"],
}


def test_every_command_line_is_known() -> None:
    known = (PYTHON, "make quickstart", "make test", "ray start")
    assert BLOCKS_RUN
    assert [line for line in LINES if not line.startswith(known)] == []


def test_translation_has_the_same_commands() -> None:
    def commands(name: str) -> list[list[str]]:
        return [
            [line.split("  #")[0].rstrip() for line in block.splitlines()] for block in blocks(name)
        ]

    assert commands("README.zh-CN.md") == commands("README.md")


def test_translation_has_the_same_options_and_links() -> None:
    def named(name: str) -> tuple[list[str], list[str]]:
        text = (ROOT / name).read_text().split("## ", 1)[1]
        rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        return re.findall(r"`[^`]*`", "".join(rows)), re.findall(r"\]\(([^)]*)\)", text)

    assert named("README.zh-CN.md") == named("README.md")


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS_RUN, ids=[block.splitlines()[0] for block in BLOCKS_RUN])
def test_commands(block: str, tmp_path: Path) -> None:
    for line in block.replace("\\\n", "").splitlines():
        if line.startswith(PYTHON):
            check(line, tmp_path)


def check(line: str, folder: Path) -> None:
    """Run one command; it must work, or refuse as it should on a machine like this."""
    words = shlex.split(line.split("  #")[0])
    # The only placeholder in the README's commands: the Python of another environment.
    words = [word.replace("/opt/venvs/paddle/bin/python", sys.executable) for word in words]
    # Where ``cluster.address=auto`` leads: to none of the Rays that may run on this machine.
    environment = {**command.ENVIRONMENT, **({"RAY_ADDRESS": NOWHERE} if EXISTING in line else {})}
    recorded = {*folder.glob(SUMMARIES)}
    ended = command.run(folder, *words[1:], command=[sys.executable], environment=environment)
    refused = next((said for part, said in REFUSALS.items() if part in line), None)
    if refused is None:
        assert ended.code == 0, ended.err
        assert ended.out
    else:
        lines = command.refused(ended)
        assert all(words in ended.err for words in refused), ended.err
        # Nothing is run on CPUs instead; the same command with device=cpu is shown.
        assert "epoch 1" not in ended.out
        assert {*folder.glob(SUMMARIES)} == recorded
        if MORE_GPUS in line:
            fix = next(line for line in lines if line.startswith("fix:"))
            assert "python -m distlab.launch" in fix or "distlab " in fix
            assert all(word in fix for word in [*words[3:], "device=cpu"]), fix
