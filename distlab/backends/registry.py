"""Backends found by name, through the entry points ``distlab.backends``."""

from importlib.metadata import EntryPoint, entry_points

from distlab.backends.base import Backend
from distlab.errors import DistlabError

GROUP = "distlab.backends"


def available() -> dict[str, EntryPoint]:
    """The entry points of all installed backends by framework name; imports none of them."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def is_known(framework: str) -> bool:
    """Whether workers can be told to load ``framework``; nothing is imported.

    True for the name of an entry point and for any ``module:Class``, which only the workers'
    environment can find.
    """
    return ":" in framework or framework in available()


def load(framework: str) -> type[Backend]:
    """Import the backend of ``framework``, and with it the framework. For worker processes only.

    Parameters
    ----------
    framework:
        The name of an entry point, or ``module:Class`` for a backend that is not installed as one.

    Raises
    ------
    DistlabError
        If no package offers the backend, or the framework itself is not installed.
    """
    entries = available()
    if ":" in framework:
        entries[framework] = EntryPoint(framework, framework, GROUP)
    if framework not in entries:
        raise DistlabError(
            f"framework={framework}",
            f"backends for {', '.join(sorted(entries)) or 'no framework'} are installed",
            "choose one of these, or install the package that offers this backend",
        )
    try:
        backend: type[Backend] = entries[framework].load()
    except ModuleNotFoundError as error:
        raise DistlabError(
            f"framework={framework}",
            f"the package {error.name} is not installed in the workers' environment",
            f"put the folder of {error.name} on PYTHONPATH"
            if ":" in framework
            else f'pip install "distlab[{framework}]"',
        ) from error
    return backend
