"""The machine and the software of this process, as facts for the record."""

import getpass
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from distlab import __version__


def describe() -> dict[str, Any]:
    """Machine, Python and the versions of all installed packages."""
    return {
        "distlab": __version__,
        "git_commit": git_commit(),
        "python": sys.version,
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "packages": _packages(),
    }


@cache
def software() -> dict[str, str]:
    """What a rank runs, its framework aside: versions, and a fingerprint of distlab's own code.

    Two hosts may have the same version of distlab, and one of them with changes.
    """
    package = Path(__file__).parents[1]
    code = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        code.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return {
        "python_version": platform.python_version(),
        "numpy_version": np.__version__,
        "distlab_version": __version__,
        "distlab_code": code.hexdigest()[:12],
    }


@cache
def _packages() -> dict[str, str]:
    """The versions of all installed packages, when they were first asked for."""
    return dict(sorted((d.metadata["Name"].lower(), d.version) for d in distributions()))


@cache
def code() -> str:
    """The version of this distlab and the first digits of a SHA-256 of its source."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{__version__} ({digest.hexdigest()[:8]})"


def processor() -> str:
    """The CPU's name, where Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def git_commit() -> str | None:
    """The commit that distlab runs from, with ``-dirty`` if it was changed; None if installed.

    It is that of the first call, which is nearest to the code that the process has loaded.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    found = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None


def user() -> str:
    """The name of the user, or ``unknown`` where the system has none for the process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
