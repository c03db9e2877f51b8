"""Making an environment: by uv where there is one, else by Python's own venv and pip."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from distlab.environment import made_of
from distlab.environment.kept import COMMAND, NAME, Kept, default_name, folder, keep
from distlab.errors import DistlabError

_FACTS = """
import importlib.metadata, json, sys
from distlab.backends import registry
registry.load(sys.argv[1])
told = [importlib.metadata.version(name) for name in sys.argv[2:]]
print(json.dumps([sys.version.split()[0], *told]))
"""


def create(
    framework: str,
    wanted: str | None,
    name: str | None,
    build: str,
    more: Sequence[str],
    say: Callable[[str], None],
) -> Kept:
    """Make an environment with this distlab, this Ray and a framework, and try the framework.

    Parameters
    ----------
    framework, wanted, build:
        As in :func:`distlab.environment.made_of.requirements`.
    name:
        What it is called; None for ``framework-version``, or ``framework``.
    more:
        Arguments for the installer: ``--index-url ADDRESS``.
    say:
        Is told what is done.

    Raises
    ------
    DistlabError
        If there is one of this name, or it cannot be made; then nothing of it is left.
    """
    suffix = f"-{build}" if build == made_of.GPU else ""
    name = name or default_name(framework, wanted) + suffix
    asked = f"{COMMAND} create {framework}{f'=={wanted}' if wanted else ''}"
    if not NAME.fullmatch(name):
        raise DistlabError(f"{asked} name={name}", "a name is a word", "name=mine")
    named = made_of.requirements(framework, wanted, build)
    path = folder() / name
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        why = "is there already" if (path / "bin").exists() else "is being made"
        again = f"to make it anew: {COMMAND} remove {name}\nor another: {asked} name=another"
        raise DistlabError(asked, f"the environment {name} {why}, in {path}", again) from None
    except OSError as error:
        raise DistlabError(asked, f"{error}", "another cache: XDG_CACHE_HOME=/path") from error
    try:
        say(f"making {path} with {' '.join(named)}")
        for command in commands(path, [*named, *more]):
            _done(asked, command)
        say(f"trying {framework}")
        package = made_of.distribution_of(framework, build)
        version, python, ray, distlab = _facts(asked, path, framework, package)
        one = Kept(name, framework, version, python, ray, distlab, " ".join(named))
        keep(one)
        return one
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def commands(path: Path, named: Sequence[str]) -> list[list[str]]:
    """The commands that make an environment with what is named."""
    python = str(path / "bin" / "python")
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--python", sys.executable, "--allow-existing", str(path)],
            [uv, "pip", "install", "--python", python, *named],
        ]
    return [
        [sys.executable, "-m", "venv", str(path)],
        [python, "-m", "pip", "install", *named],
    ]


def _done(asked: str, command: Sequence[str]) -> None:
    """Run a command, which tells the terminal what it does."""
    surroundings = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    surroundings.pop("PYTHONPATH", None)
    code = subprocess.run(command, env=surroundings, check=False).returncode
    if code:
        raise DistlabError(
            asked,
            f"{shlex.join(command)}\nended with code {code}; its own words are above",
            f"its arguments go behind two dashes: {asked} -- --index-url ADDRESS\n"
            "or an environment that you make: framework.environment=PATH",
        )


def _facts(asked: str, path: Path, framework: str, package: str) -> tuple[str, str, str, str]:
    """What an environment holds, once its framework was imported in it."""
    command = [str(path / "bin" / "python"), "-c", _FACTS, framework, package, "ray", "distlab"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    try:
        python, version, ray, distlab = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise DistlabError(
            asked,
            f"{framework} is installed and cannot be imported: {(said or ['no word'])[-1]:.300}",
            "another version of it, or what it needs besides",
        ) from None
    return version, python, ray, distlab
