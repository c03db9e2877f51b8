"""A process of its own for a framework: with TensorFlow and Paddle in the same one, both crash."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a process that sees only this environment, and must end well."""
    minimal = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return _ended(["-c", textwrap.dedent(program)], {**minimal, **environment})


def found(file: str, *arguments: str, **environment: str | None) -> Any:
    """What a test's file, run as a program in a process of its own, prints as JSON at last.

    It sees the environment of this process with these changes; None takes a variable away.
    """
    changed = {**os.environ, **environment}
    kept = {name: value for name, value in changed.items() if value is not None}
    return json.loads(_ended([file, *arguments], kept).stdout.splitlines()[-1])


def _ended(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done
