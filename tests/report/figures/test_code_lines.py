import subprocess
import sys
from pathlib import Path

import pytest

from distlab.report.figures.code_lines import backend_sources, count

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
    ("framework", "entry", "part"),
    [
        ("torch", "torch/backend", "torch/graph"),
        ("tf", "tensorflow/backend", "tensorflow/adam"),
        ("paddle", "paddle/backend", "paddle/mkl"),
    ],
)
def test_a_backend_is_all_its_modules_and_nothing_shared(
    framework: str, entry: str, part: str
) -> None:
    sources = backend_sources(framework)
    assert next(iter(sources)) == f"distlab/backends/{entry}.py"
    assert f"distlab/backends/{part}.py" in sources
    assert all(file.startswith(f"distlab/backends/{entry.split('/')[0]}") for file in sources)
    assert all(Path(file).stem not in ("base", "registry", "__init__") for file in sources)


def test_module_and_class_name_the_same_backend() -> None:
    named = backend_sources("distlab.backends.torch.backend:TorchBackend")
    assert named == backend_sources("torch")


def test_no_framework_is_imported() -> None:
    code = (
        "import sys\nfrom distlab.report.figures.code_lines import backend_sources\n"
        "for name in ('torch', 'tf', 'paddle'):\n    assert backend_sources(name)\n"
        "print([m for m in ('torch', 'tensorflow', 'keras', 'paddle')"
        " if m in sys.modules or f'distlab.backends.{m}.backend' in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a backend in two modules; whoever imports any of it fails."""
    package = tmp_path / "outsider" / "parts"
    package.mkdir(parents=True)
    trap = "raise RuntimeError('imported')\n"
    (tmp_path / "outsider" / "__init__.py").write_text(trap)
    (package / "__init__.py").write_text(trap)
    (tmp_path / "outsider" / "framework.py").write_text(trap)
    (package / "backend.py").write_text(
        trap + "from .. import framework\nfrom distlab.backends.base import Backend\n"
        "from . import layers\nimport outsider.parts.adam as adam\n"
        "def late():\n    from distlab.backends.paddle.mkl import resolve_mkl_cpu_type\n"
    )
    (package / "layers.py").write_text(trap + "from outsider.parts import backend\n")
    (package / "adam.py").write_text(trap + "import numpy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "outsider.parts.backend:Backend"


def test_a_plugin_is_its_own_package_and_what_it_takes_of_distlab(plugin: str) -> None:
    sources = backend_sources(plugin)
    assert list(sources) == [
        "outsider/parts/backend.py",
        "outsider/parts/layers.py",
        "outsider/parts/adam.py",
        "distlab/backends/paddle/mkl.py",
    ]
    assert count(sources["outsider/parts/backend.py"]) == 7


def test_a_module_without_a_package_is_found(thread_framework: Path) -> None:
    assert list(backend_sources("threads")) == ["thread_backend.py"]


@pytest.mark.parametrize("framework", ["nowhere:Backend", "distlab.nowhere:Backend", "math:X", ":"])
def test_what_cannot_be_found_has_no_source(framework: str) -> None:
    assert backend_sources(framework) == {}
