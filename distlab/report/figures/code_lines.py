"""How much code a framework's backend is: the lines of its modules, counted in their source.

Nothing is imported, so the driver may count a backend whose framework it must not import.
"""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path

from distlab.backends import registry

_BACKENDS = "distlab.backends"
# What backends share is no part of any.
_SHARED = tuple(f"{_BACKENDS}.{name}" for name in ("base", "registry", "common"))


def backend_sources(framework: str) -> dict[str, str]:
    """The source of all modules that make up a framework's backend.

    These are the module of its entry point and those that it imports, directly or through each
    other, at the top or in a function, if they lie in ``distlab.backends`` or in the entry point's
    own package. What backends share (``base``, ``registry``, ``processor`` ...) is left out.

    Parameters
    ----------
    framework:
        A name, or ``module:Class``.

    Returns
    -------
    dict
        Source by file (``distlab/backends/torch/backend.py``), the entry point's first; empty where
        the module cannot be found from here, as where only the workers' environment has it.
    """
    entry = registry.available().get(framework)
    pending = [framework.partition(":")[0] if entry is None else entry.module]
    own = pending[0].rpartition(".")[0]
    packages = (_BACKENDS,) if own.split(".")[0] in ("", "distlab") else (_BACKENDS, own)
    sources: dict[str, str] = {}
    for module in pending:
        found = _locate(module)
        if found is None:
            continue
        package = found.submodule_search_locations is not None
        sources[f"{module.replace('.', '/')}{'/__init__' * package}.py"] = source = _read(found)
        for name in _imports(source, module if package else module.rpartition(".")[0]):
            part = _within(name, packages) and not _within(name, _SHARED) and name != _BACKENDS
            if part and name not in pending:
                pending.append(name)
    return sources


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


def _within(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of these packages or lies in one."""
    return any(module == one or module.startswith(f"{one}.") for one in packages)


def _imports(source: str, package: str) -> Iterator[str]:
    """Full names of the modules that ``source``, which lies in ``package``, imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = resolve_name(relative, package) if node.level else relative
            for alias in node.names:
                # A name taken from a package may be a module of it.
                inner = f"{module}.{alias.name}"
                yield inner if _locate(inner) is not None else module


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
