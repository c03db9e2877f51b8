"""Which Python a framework's workers run in: the driver's, one that distlab made, or a user's own.

What ``python -m distlab.environment create`` made lies in the user's cache folder, each in a folder
that bears its name, with a file of facts, which is written last.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import platformdirs
from packaging.version import InvalidVersion, Version

from distlab import files
from distlab.errors import DistlabError

AUTO = "auto"
"""The driver's own environment where it has what is asked for, else one of these that has."""
FACTS = "distlab-environment.json"
NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}")
MOST_BYTES = 2**14
"""How large a file of facts may be."""
VERSION = re.compile(r"[0-9][\w.!+-]{0,40}")
COMMAND = "python -m distlab.environment"


@dataclass(frozen=True)
class Kept:
    """An environment that distlab made.

    Attributes
    ----------
    name:
        That of its folder.
    framework, version:
        Which framework it holds: ``torch``, ``2.12.1+cpu``.
    python, ray, distlab:
        Versions of what it shares with a driver.
    asked:
        What it was made of, as it was asked for: ``torch==2.12.1``.
    """

    name: str
    framework: str
    version: str
    python: str
    ray: str
    distlab: str
    asked: str

    @property
    def path(self) -> Path:
        """Its folder."""
        return folder() / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.path / "bin" / "python"

    @property
    def unfit(self) -> str | None:
        """Why this driver's workers can't run in it; None if they can.

        Ray's processes speak to each other in one Ray and one minor version of Python.
        """
        if minor(self.python) != minor(sys.version):
            return f"it is Python {self.python}, and the driver's is {sys.version.split()[0]}"
        if self.ray != version("ray"):
            return f"it has Ray {self.ray}; the driver's is {version('ray')}"
        if not os.access(self.interpreter, os.X_OK):
            return f"{self.interpreter} runs no more"
        return None

    def __str__(self) -> str:
        return f"{self.name} ({self.framework} {self.version})"


def folder() -> Path:
    """Where environments are kept: ``distlab/environments`` in the user's cache folder."""
    return platformdirs.user_cache_path("distlab") / "environments"


def kept() -> list[Kept]:
    """All environments that were made to their end, by name."""
    found = []
    for file in sorted(folder().glob(f"*/{FACTS}")):
        with suppress(OSError, ValueError, TypeError):
            found.append(Kept(file.parent.name, **json.loads(files.content(file, MOST_BYTES))))
    return found


def keep(one: Kept) -> None:
    """Write an environment's facts, with which it is there."""
    facts = {name: value for name, value in asdict(one).items() if name != "name"}
    files.write(one.path / FACTS, json.dumps(facts, indent=2) + "\n")


def remove(name: str) -> None:
    """Remove an environment, or what is left of one that was not made to its end.

    Raises
    ------
    DistlabError
        If there is none of this name.
    """
    if not NAME.fullmatch(name) or not (folder() / name).is_dir():
        raise DistlabError(f"{COMMAND} remove {name}", _there(kept()), f"{COMMAND} list")
    shutil.rmtree(folder() / name)


def interpreter(
    framework: str, package: str, extra: str, environment: str | None, wanted: str | None
) -> Path | None:
    """The Python that a framework's workers start with; None for the driver's own.

    Parameters
    ----------
    framework, package, extra:
        Its name, what it is imported as, and the extra that installs it.
    environment:
        ``auto``, None (the driver's own), the name of a kept one, or a path.
    wanted:
        The version that it must have; None for any.

    Raises
    ------
    DistlabError
        If it is not there, with the command that makes it.
    """
    if environment is not None and is_path(environment):
        path = Path(environment).expanduser().absolute()
        return path / "bin" / "python" if path.is_dir() else path
    asked = f"framework={framework}"
    asked += f" framework.version={wanted}" if wanted else ""
    asked += f" framework.environment={environment or 'null'}" if environment != AUTO else ""
    fixes, found, named = [], "", environment
    if environment in (None, AUTO):
        own, named = _installed(package, wanted), None
        if own is not None and (wanted is None or same(wanted, own)):
            return None
        fixes = [] if own else [f'pip install "distlab[{extra}]"']
        found = f"this Python has {package} {own}" if own else f"{package} is not installed"
    if environment is None:
        fixes.append(f"{create(framework, wanted)} && {{command}} framework.environment={AUTO}")
        raise DistlabError(asked, found, "\nor: ".join(fixes))
    there = [one for one in kept() if one.framework == framework and named in (None, one.name)]
    right = [one for one in there if wanted is None or same(wanted, one.version)]
    if fitting := [one for one in right if one.unfit is None]:
        return max(fitting, key=lambda one: _ordered(one.version)).interpreter
    for one in right[:1]:
        fixes.append(f"{COMMAND} remove {one.name} && {create(framework, one.version, one.name)}")
        found = f"{found}; of the environment {one}: {one.unfit}".lstrip("; ")
    if not right:
        fixes.append(create(framework, wanted, named))
        found = f"{found}; {_there(there if named is None else kept())}".lstrip("; ")
    raise DistlabError(asked, found, "\nor: ".join(fixes))


def create(framework: str, wanted: str | None = None, name: str | None = None) -> str:
    """The command that makes an environment."""
    asked = f"{framework}=={Version(wanted).public}" if wanted else framework
    named = name if name not in (None, default_name(framework, wanted)) else None
    return f"{COMMAND} create {asked}{f' name={named}' if named else ''}"


def default_name(framework: str, wanted: str | None) -> str:
    """What an environment is called unless it is given a name: ``torch-2.12.1``, ``paddle``."""
    return f"{framework}-{Version(wanted).public}" if wanted else framework


def is_path(environment: str) -> bool:
    """Whether an environment is named by a path, and not by a name of those kept."""
    return environment.startswith("~") or os.sep in environment


def same(wanted: str, found: str) -> bool:
    """Whether a version is the one asked for: ``2.13.0+cpu`` is ``2.13.0``, and not the reverse."""
    try:
        one, other = Version(wanted), Version(found)
    except InvalidVersion:
        return wanted == found
    return one == other or str(one) == other.public


def minor(python: str) -> str:
    """A version of Python without its last number: ``3.11``."""
    return ".".join(python.split()[0].split(".")[:2])


def refuse_other(framework: str, wanted: str | None, found: str) -> None:
    """Refuse a framework that says in a worker that it is of another version than asked for.

    Raises
    ------
    DistlabError
        With both.
    """
    if wanted is not None and not same(wanted, found):
        raise DistlabError(
            f"framework={framework} framework.version={wanted}",
            f"what the workers have imported is {framework} {found}",
            f"framework.version={found}, or {create(framework, wanted)}",
        )


def _installed(package: str, exact: str | None) -> str | None:
    """The driver's own version of a package; some text where none is asked for; None without it."""
    if find_spec(package) is None:
        return None
    if exact is None:
        return "installed"
    for distribution in packages_distributions().get(package, ()):
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "of an unknown version"


def _there(found: Iterable[Kept]) -> str:
    names = ", ".join(map(str, found))
    return f"of the environments that distlab made there is {names or 'none'}"


def _ordered(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")
