"""The house: which room imports which, who knows which library, and how many files a folder holds.

``docs/architecture.md`` is its map.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "launch",
    "runs",
    "doctor",
    "predict",
    "report",
    "conformance",
    "tracking",
    "cluster",
    "fairness",
    "worker",
    "checkpoints",
    "outcome",
    "experiment",
    "environment",
    "backends",
    "data",
    "models",
    "measure",
    "machine",
    "console",
    "masking",
    "files",
    "errors",
)
"""From the roof down: a room imports only from rooms below it."""
REPORT = ("asked", "publish", "formats", "contents", "sections", "plots", "figures")
"""The same inside ``report/``."""
HOMES = {
    "ray": "distlab/cluster",
    "mlflow": "distlab/tracking",
    "torch": "distlab/backends/torch",
    "tensorflow": "distlab/backends/tensorflow",
    "keras": "distlab/backends/tensorflow",
    "paddle": "distlab/backends/paddle",
}
"""Where alone a library may be imported."""
FILES_A_FOLDER = 9
"""At most so many Python files, a package's ``__init__`` and ``__main__`` not counted."""


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a file imports, wherever it does so."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            # A name that is taken from a package may be a module of it.
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_every_file_and_folder_is_a_room() -> None:
    found = {path.stem for path in (ROOT / "distlab").iterdir() if path.name != "__pycache__"}
    # The config tree lies here in an installed package.
    assert found - {"__init__", "py", "conf"} == set(ROOMS)


@pytest.mark.parametrize(
    ("folder", "order"), [("distlab", ROOMS), ("distlab/report", REPORT)], ids=["house", "report"]
)
def test_a_room_imports_only_from_rooms_below_it(folder: str, order: tuple[str, ...]) -> None:
    prefix = folder.replace("/", ".") + "."
    wrong = []
    for file in sources(folder):
        here = file.relative_to(ROOT / folder).with_suffix("").parts[0]
        if here not in order:  # __init__ and __main__ are doors
            continue
        for line, name in imports(file):
            if not name.startswith(prefix):
                continue
            there = name.removeprefix(prefix).split(".")[0]
            if there in order and order.index(there) < order.index(here):
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {name}, which is above it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("library", "home"), HOMES.items())
def test_a_library_is_imported_in_its_home_alone(library: str, home: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}, which belongs in {home}/"
        for file in sources("distlab")
        if not file.is_relative_to(ROOT / home)
        for line, name in imports(file)
        if name.split(".")[0] == library
    ]
    assert not wrong, "\n".join(wrong)


def test_a_backend_imports_no_other_backend() -> None:
    backends = {Path(home).name: home for home in HOMES.values() if "backends" in home}
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for own, home in backends.items()
        for file in sources(home)
        for line, name in imports(file)
        for other in backends.keys() - {own}
        if name.startswith(f"distlab.backends.{other}.")
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", ["distlab", "tests"])
def test_no_folder_holds_many_files(top: str) -> None:
    folders: dict[Path, list[str]] = {}
    for file in sources(top):
        if file.stem not in ("__init__", "__main__"):
            folders.setdefault(file.parent, []).append(file.name)
    many = {
        str(folder.relative_to(ROOT)): files
        for folder, files in folders.items()
        if len(files) > FILES_A_FOLDER
    }
    assert not many, many


def test_tests_mirror_the_tree() -> None:
    """Each folder of tests is a room's, or holds what tests share."""
    # tests/conformance/backends/ holds broken ones.
    shared = {
        "support",
        "launch",
        "machines",
        "ranks",
        "benchmarks",
        "docs",
        "pictures",
        "backends",
        "fuzz",
    }
    wrong = [
        str(folder.relative_to(ROOT))
        for folder in (ROOT / "tests").rglob("*")
        if folder.is_dir() and folder.name not in {"__pycache__", *shared}
        if not (ROOT / "distlab" / folder.relative_to(ROOT / "tests")).is_dir()
    ]
    assert not wrong, "\n".join(wrong)
