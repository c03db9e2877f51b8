import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from distlab.report.figures.code_lines import count, tutorial

TWELVE = '''#!/usr/bin/env python
"""A docstring
over two lines."""

import os  # one

NAME = "not a docstring"  # two
"""A string that is no docstring counts: three."""


@staticmethod
def function(
    first: int,
    second: int,
) -> int:
    """Not counted."""
    # Not counted.
    total = (
        first
        + second
    )

    return total


class Thing:
    r"""Not counted."""

    async def method(self) -> None:
        "Not counted."
        if os.name: return; pass
        text = """
        # no comment
        """


def one_line(): "the docstring stands in the line of the def"
'''


def test_logical_lines_are_counted_without_blanks_comments_and_docstrings() -> None:
    assert count(TWELVE) == 12


def test_layout_does_not_change_the_count() -> None:
    assert count("x = [1, 2]\n") == count("x = [\n    # first\n    1,\n\n    2,\n]\n") == 1
    assert count("") == count('"""Only words."""\n# and a comment\n') == 0


@pytest.mark.parametrize(
    ("framework", "folder"), [("torch", "torch"), ("tf", "tensorflow"), ("paddle", "paddle")]
)
def test_each_shipped_framework_has_its_script(framework: str, folder: str) -> None:
    ((file, source),) = tutorial(framework).items()
    assert file == f"distlab/backends/{folder}/tutorial/train.py"
    # What a user writes, by whom nothing is tuned.
    assert 30 < count(source) < 100
    assert "distlab" not in source


def test_module_and_class_name_the_same_script() -> None:
    assert tutorial("distlab.backends.torch.backend:TorchBackend") == tutorial("torch")


def test_no_framework_is_imported() -> None:
    code = (
        "import sys\nfrom distlab.report.figures.code_lines import tutorial\n"
        "for name in ('torch', 'tf', 'paddle'):\n    assert tutorial(name)\n"
        "print([m for m in ('torch', 'tensorflow', 'keras', 'paddle')"
        " if m in sys.modules or f'distlab.backends.{m}.backend' in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_plugin_may_have_a_script_of_its_own_and_none_of_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outsider" / "tutorial"
    folder.mkdir(parents=True)
    trap = "raise RuntimeError('imported')\n"
    for file in ("../__init__.py", "../backend.py", "__init__.py"):
        (folder / file).write_text(trap)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tutorial("outsider.backend:Backend") == {}
    (folder / "train.py").write_text(trap)
    importlib.invalidate_caches()
    assert tutorial("outsider.backend:Backend") == {"outsider/tutorial/train.py": trap}


@pytest.mark.parametrize("framework", ["nowhere:Backend", "distlab.nowhere:Backend", "math:X", ":"])
def test_what_cannot_be_found_has_no_script(framework: str) -> None:
    assert tutorial(framework) == {}
