"""``python -m distlab.doctor.probe NAME``: imports a framework, as a worker does, or a package.

In a process of its own, because no process imports two frameworks, and an import may crash or hang.
"""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from distlab.backends import registry
from distlab.cluster.worker_environment import foreign

SECONDS = 120
"""A guard against a hang: an import takes seconds, on a busy machine ten times as many."""


@dataclass(frozen=True)
class Seen:
    """What an import came to.

    Attributes
    ----------
    error:
        The last line of what it said when it failed; None if it worked.
    gpus:
        How many GPUs a framework sees; None where it cannot tell.
    """

    error: str | None = None
    gpus: int | None = None


def look(name: str, seconds: float = SECONDS) -> Seen:
    """Import a framework or a package in a process of its own, with a worker's environment."""
    removed = foreign(os.environ)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "distlab.doctor.probe", name],
            env={key: value for key, value in os.environ.items() if key not in removed},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Seen(f"its import takes more than {seconds:.0f} s")
    if done.returncode < 0:
        return Seen(f"its import is ended by signal {-done.returncode}")
    if done.returncode:
        return Seen((done.stderr.strip().splitlines() or ["its import fails without a word"])[-1])
    return Seen(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Import what the first argument names, and say in JSON what was seen."""
    name = sys.argv[1]
    gpus = None
    if registry.is_known(name):
        gpus = registry.load(name).gpus_seen()
    else:
        importlib.import_module(name)
    sys.stdout.write("\n" + json.dumps({"gpus": gpus}) + "\n")
    sys.stdout.flush()
    # What a framework does when its process ends is not looked at.
    os._exit(0)


if __name__ == "__main__":
    main()
