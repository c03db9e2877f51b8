"""Whether the Python that workers are to run in can be one of theirs, looked at where it is.

Ray starts a wrong one again and again, without a word.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distlab import __version__
from distlab.errors import DistlabError
from distlab.experiment.frameworks.usable import interpreter_of
from distlab.experiment.options import ClusterMode, FrameworkOptions, Options

ANSWER_S = 20.0
"""Seconds that an interpreter may take to say what it is, or Ray to ask it elsewhere."""

NOT_FOUND = (126, 127)
"""How a shell ends where a command is no executable file, or none at all (POSIX, sh, 2.8.2)."""

_PROBE = """
import importlib.metadata, importlib.util, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
found = importlib.util.find_spec(sys.argv[1]) is not None
print(json.dumps([sys.version.split()[0], version("ray"), version("distlab"), found]))
"""


def environment(options: Options) -> dict[str, Any] | None:
    """The runtime environment that Ray is given for the workers; None for Ray's own.

    Ray puts the path of its Python into a shell's command as it is, which a space in it breaks: on
    this machine it is given quoted.

    Raises
    ------
    DistlabError
        If Ray knows no such field, or the interpreter cannot be one of the workers'.
    """
    given = fields(options.framework)
    known = ray.runtime_env.RuntimeEnv.known_fields
    unknown = sorted(given.keys() - known)
    if unknown and not os.environ.get("RAY_RUNTIME_ENV_PLUGINS"):
        raise DistlabError(
            f"framework.runtime_env with {', '.join(unknown)}",
            "Ray knows no such field and would leave it out",
            f"one of {', '.join(sorted(name for name in known if not name.startswith('_')))}",
        )
    if options.cluster.mode is ClusterMode.local:
        if "py_executable" in given:
            refuse_if_unfit(options.framework, ray.get_runtime_context().get_node_id(), "")
        elif (quoted := shlex.quote(sys.executable)) != sys.executable:
            given["py_executable"] = quoted
    return given or None


def fields(framework: FrameworkOptions) -> dict[str, Any]:
    """``framework.runtime_env``, with the Python of ``framework.environment``."""
    found = interpreter_of(framework)
    own = {} if found is None else {"py_executable": shlex.quote(str(found))}
    return {**(framework.runtime_env or {}), **own}


def refuse_if_unfit(framework: FrameworkOptions, node: str, where: str) -> None:
    """Raise the reason why the workers' Python on a node cannot run them, if there is one.

    Parameters
    ----------
    framework:
        Whose package it must hold; names the interpreter.
    node:
        The id of Ray's node.
    where:
        Which worker that concerns, and on which host.

    Raises
    ------
    DistlabError
        With what is wrong with it.
    """
    given = fields(framework)
    command = given.get("py_executable") or shlex.quote(sys.executable)
    # Another backend's module may lie on a path that only its workers have.
    package = framework.package if ":" not in framework.name else "distlab"
    variables = {name: str(value) for name, value in (given.get("env_vars") or {}).items()}
    answer = _asked(node, command, package, variables)
    why = unfit(answer)
    if why is not None:
        runs = answer[0] not in NOT_FOUND
        raise DistlabError(
            f"workers of framework={framework.name} in {command}"
            if not framework.runtime_env and given
            else f"framework.runtime_env={{py_executable: {command}}}"
            if "py_executable" in given
            else f"workers that run in {command}",
            f"{where}{why}",
            f'in that environment: pip install "distlab[{framework.extra}]"\n'
            f"with the driver's Python {sys.version.split()[0]} and Ray {version('ray')}"
            if runs
            else "name the Python of an environment that is there, a space in its path quoted: "
            "'framework.runtime_env={py_executable: /path/to/bin/python}'",
        )


def unfit(answer: tuple[int, str, str]) -> str | None:
    """Why an interpreter with this exit code, output and complaint cannot run workers, if so."""
    code, out, complaint = answer
    last = next((line for line in reversed(complaint.splitlines()) if line.strip()), "").strip()
    last = last.removeprefix("bash: line 1: ")
    try:
        python, its_ray, its_distlab, has_package = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        if code in NOT_FOUND:
            return last
        return f"it ends with code {code} before it runs anything{': ' * bool(last)}{last}"
    if python.split(".")[:2] != sys.version.split(".")[:2]:
        return f"it is Python {python}, and the driver's is {sys.version.split()[0]}"
    for name, its, ours in (
        ("Ray", its_ray, version("ray")),
        ("distlab", its_distlab, __version__),
    ):
        if its != ours:
            return f"it has {f'{name} {its}' if its else f'no {name}'}; the driver's is {ours}"
    return None if has_package else "it has not the framework's package"


def _asked(
    node: str, command: str, package: str, variables: Mapping[str, str]
) -> tuple[int, str, str]:
    """What the interpreter answers on a node: exit code, output, complaint."""

    def ask() -> tuple[int, str, str]:  # inside, so that it is sent to nodes without distlab, too
        import os
        import shlex

        # As Ray calls it: the text is a shell's.
        line = f"exec {command} -c {shlex.quote(probe)} {shlex.quote(package)}"
        try:
            done = subprocess.run(
                ["bash", "-c", line],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"no answer within {limit:g} s"
        return done.returncode, done.stdout, done.stderr

    probe, limit = _PROBE, ANSWER_S
    if node == ray.get_runtime_context().get_node_id():
        return ask()
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    asking: Any = ray.remote(ask).options(num_cpus=0, scheduling_strategy=there)
    try:
        answer: tuple[int, str, str] = ray.get(asking.remote(), timeout=2 * ANSWER_S)
    except RayError as error:
        return 1, "", f"Ray could not ask it: {error}"
    return answer
