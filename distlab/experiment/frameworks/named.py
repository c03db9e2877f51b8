"""Which options of a recorded plan would become code, and are named by nobody here.

Who may write to a store may write a plan. Workers import ``framework.name`` and start in
``framework.environment``, ``framework.runtime_env`` and ``framework.env``: of a plan, these are
taken only where this installation or this command's own environment says the same.
"""

import os
from typing import Any

from omegaconf import OmegaConf

from distlab.backends import registry
from distlab.environment import kept
from distlab.experiment.config_tree import CONF
from distlab.experiment.options import FrameworkOptions


def unnamed(framework: FrameworkOptions) -> list[str]:
    """The options of a recorded cell that would become code, as words; empty if all are named.

    A framework is named here if a backend is installed for it, a variable if the framework's own
    file in ``conf/`` sets it or the command's environment has it with the same value.
    """
    found = []
    if framework.name not in registry.available():
        found.append(f"framework.name={framework.name}")
    own = _installed(framework.name)
    for name, value in framework.env.items():
        if name not in (own.get("env") or {}) and os.environ.get(name) != value:
            found.append(f"framework.env.{name}={value}")
    environment = framework.environment
    # A name is of one that this user made; a path may lead anywhere.
    if environment not in (None, own.get("environment")) and kept.is_path(environment):
        found.append(f"framework.environment={environment}")
    if framework.runtime_env not in (None, own.get("runtime_env")):
        found.append(f"framework.runtime_env={framework.runtime_env}")
    return found


def _installed(name: str) -> dict[Any, Any]:
    """What the installed config tree says of a framework; nothing of one from elsewhere."""
    known = {file.stem: file for file in (CONF / "framework").glob("*.yaml")}
    file = known.get(name)
    return {} if file is None else dict(OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]
