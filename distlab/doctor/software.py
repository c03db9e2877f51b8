"""What is installed, and whether it works: packages, frameworks, Ray, the report, the compiler."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from distlab import __version__
from distlab.backends import registry
from distlab.doctor import preflight
from distlab.doctor.finding import Finding, note, wrong
from distlab.doctor.probe import look
from distlab.environment import kept
from distlab.errors import DistlabError
from distlab.experiment.config_tree import package_of

COMPILED = "torch"
"""The framework whose default execution compiles its steps with a C++ compiler."""


def python() -> Iterator[Finding]:
    """The interpreter and what runs the runs."""
    where = sys.executable
    yield Finding("distlab", f"{__version__}, Python {sys.version.split()[0]} ({where})")


def frameworks() -> Iterator[Finding]:
    """Each framework that has a backend: its version, and whether it can be imported."""
    packages = {name: package_of(name) for name in registry.available()}
    there = {name: package for name, package in packages.items() if _version(package)}
    with ThreadPoolExecutor() as pool:
        seen = dict(zip(there, pool.map(look, there), strict=True))
    elsewhere = kept.kept()
    for name, package in packages.items():
        what = f"framework={name}"
        made = [one for one in elsewhere if one.framework == name]
        for one in made:
            found = f"{one.version} in the environment {one.name}"
            unfit = one.unfit and f"{kept.COMMAND} remove {one.name}, and create it anew"
            yield note(what, f"{found}: {one.unfit}", unfit) if unfit else Finding(what, found)
        if name not in there and any(one.unfit is None for one in made):
            continue
        if name not in there:
            advice = f'pip install "distlab[{name}]"'
            found = f"{package} is not installed"
            yield note(what, found, advice) if there else wrong(what, found, advice)
        elif error := seen[name].error:
            advice = f"pip install --force-reinstall {_distribution(package)}"
            yield wrong(what, f"{package} {_version(package)} cannot be imported: {error}", advice)
        else:
            yield _devices(what, f"{package} {_version(package)}", seen[name].gpus)


def _devices(what: str, found: str, gpus: int | None) -> Finding:
    """What a framework that works sees of the machine's GPUs."""
    present = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if gpus is None or gpus >= present:
        return Finding(what, f"{found}, {gpus or 'no'} GPU{'s' * (gpus != 1)}")
    advice = "its build has no CUDA, or another one than the driver; see README, CPU or CUDA builds"
    return note(what, f"{found} sees {gpus} of {present} GPUs", advice)


def ray() -> Iterator[Finding]:
    """Whether Ray can be imported."""
    yield from _importable("ray", "Ray")


def report() -> Iterator[Finding]:
    """Whether a study's report can be made at its end."""
    try:
        preflight.report()
        yield Finding("report", f"can be made (matplotlib {_version('matplotlib')})")
    except DistlabError as error:
        yield wrong("report", error.found, error.fix.splitlines()[-1])


def compiler() -> Iterator[Finding]:
    """Whether there is a C++ compiler that makes a library."""
    name = os.environ.get("CXX", "g++")
    advice = "apt-get install g++ (or the like), or run with framework.execution=eager"
    tell: Callable[[str, str], Finding] = partial(
        wrong if _version(package_of(COMPILED)) else note, "compiler"
    )
    if shutil.which(name) is None:
        yield tell(f"there is no {name}, and torch compiles its steps", advice)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "nothing here.cpp")
        source.write_text("#include <cmath>\nint nothing() { return 0; }\n")
        library = source.with_suffix(".so")
        order = [name, "-shared", "-fPIC", str(source), "-o", str(library)]
        done = subprocess.run(order, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["without a word"])[0]
        yield tell(f"{name} fails: {said}", advice)
    else:
        yield Finding("compiler", f"{name} makes libraries")


def _importable(package: str, what: str) -> Iterator[Finding]:
    seen = look(package)
    found = f"{_version(package)}"
    if seen.error is None:
        yield Finding(what, found)
    else:
        advice = f"pip install --force-reinstall {_distribution(package)}"
        yield wrong(what, f"{found} cannot be imported: {seen.error}", advice)


def _distribution(package: str) -> str:
    """What a package is called where it is installed from: ``paddlepaddle`` of ``paddle``."""
    return next(iter(packages_distributions().get(package, [])), package)


def _version(package: str) -> str | None:
    try:
        return version(_distribution(package))
    except PackageNotFoundError:
        return None
