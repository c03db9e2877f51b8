"""How much code an experiment is in a framework: the lines of a script in its tutorials' style.

Nothing is imported, so the driver may count a script whose framework it must not import.
"""

import ast
import io
import tokenize
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from distlab.backends import registry


def tutorial(framework: str) -> dict[str, str]:
    """The source of the script that a user would write for this experiment.

    A framework's package may hold ``tutorial/train.py`` beside its backend: LeNet-5 on MNIST,
    trained by several processes and evaluated, in the style of the framework's own tutorials.

    Parameters
    ----------
    framework:
        A name, or ``module:Class``.

    Returns
    -------
    dict
        Source by file (``distlab/backends/torch/tutorial/train.py``); empty where there is no such
        script, or where the package cannot be found from here, as where only the workers'
        environment has it.
    """
    entry = registry.available().get(framework)
    module = framework.partition(":")[0] if entry is None else entry.module
    package = module.rpartition(".")[0]
    script = f"{package}.tutorial.train"
    found = _locate(script) if package else None
    return {} if found is None else {f"{script.replace('.', '/')}.py": _read(found)}


def count(source: str) -> int:
    """Number of logical lines of Python code in ``source``, docstrings left out.

    A statement over several lines is one logical line; blank lines and comments are none (The
    Python Language Reference, 2.1.1). So the number doesn't depend on how code is laid out.
    """
    docstrings = _docstrings(ast.parse(source))
    lines, begun = 0, None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            lines += begun not in docstrings
            begun = None
        elif begun is None and token.type not in _LAYOUT:
            begun = token.start
    return lines


_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)


def _docstrings(tree: ast.Module) -> set[tuple[int, int]]:
    """Where docstrings begin, as line (from 1) and column (in characters; docstrings are first)."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in ast.walk(tree)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
    }


def _locate(module: str) -> ModuleSpec | None:
    """Find a module's file without running any code of it or of the packages above it.

    ``importlib.util.find_spec`` alone would import those packages.
    """
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        return None
    return spec


def _read(spec: ModuleSpec) -> str:
    """The source of a module, decoded as its first lines say."""
    with tokenize.open(Path(str(spec.origin))) as file:
        return file.read()
