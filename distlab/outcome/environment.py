"""The machine and the software of this process, as facts for the record."""

import getpass
import hashlib
import json
import os
import platform
import re
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
        "processor_model": processor_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "virtual_machine": virtual_machine(),
        "repository": repository(),
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
def lock() -> str:
    """The packages of this process's Python, as ``pip freeze`` would list them.

    Its lines are ``name==version`` or, of what was installed from elsewhere than an index,
    ``name @ address`` (PEP 610); a folder that is installed editable is told by its version alone.
    """
    lines = set()
    for one in distributions():
        name = one.metadata["Name"]
        origin = json.loads(one.read_text("direct_url.json") or "{}")
        commit = origin.get("vcs_info", {}).get("commit_id")
        url = f"{origin['vcs_info']['vcs']}+{origin['url']}@{commit}" if commit else ""
        url = url or (origin["url"] if "archive_info" in origin else "")
        lines.add(f"{name} @ {url}" if url else f"{name}=={one.version}")
    return "".join(f"{line}\n" for line in sorted(lines, key=str.lower))


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
    return _cpuinfo().get("model name") or platform.machine()


def processor_model() -> str | None:
    """Family, model and stepping of a CPU whose name may tell little; None where unknown."""
    found = _cpuinfo()
    names = ("vendor_id", "cpu family", "model", "stepping")
    told = [f"{name.removeprefix('cpu ')} {found[name]}" for name in names if name in found]
    return ", ".join(told).removeprefix("vendor_id ") or None


def virtual_machine() -> bool | None:
    """Whether the processor says that it is one of a virtual machine; None where unknown."""
    flags = _cpuinfo().get("flags")
    return None if flags is None else "hypervisor" in flags.split()


def _cpuinfo() -> dict[str, str]:
    """What Linux tells of the first processor; empty where it doesn't."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


@cache
def repository() -> str | None:
    """The web address of the checkout's origin, without any password; None if it has none."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    found = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
    )
    return web_address(found.stdout.strip())


def web_address(remote: str) -> str | None:
    """Where a browser finds a git remote: of ``git@HOST:PATH`` and URLs; None of a folder."""
    form = r"(?:(?:https?|ssh|git)://(?:[^/@]*@)?([^/:]+)(?::\d+)?/|(?:[\w.-]+@)([\w.-]+):)(.+)"
    found = re.fullmatch(form, remote)
    if found is None:
        return None
    host, path = found[1] or found[2], found[3].strip("/").removesuffix(".git")
    return f"https://{host}/{path}"


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
