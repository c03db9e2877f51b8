"""What an environment is made of: the driver's distlab and Ray, and a framework."""

import json
from importlib.metadata import distribution, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from distlab.errors import DistlabError

GPU = "gpu"
BUILDS = ("cpu", GPU)


def requirements(framework: str, wanted: str | None, build: str) -> list[str]:
    """What an installer is told: the same distlab, the same Ray, the framework.

    Parameters
    ----------
    framework:
        One that distlab has an extra for.
    wanted:
        Its version, whatever range the extra names; None for the newest of that range.
    build:
        ``gpu`` for what the GPU extra names.

    Raises
    ------
    DistlabError
        If there is no such extra, or it names no package of the framework.
    """
    return [*own(), f"ray=={version('ray')}", *extra(framework, wanted, build)]


def own() -> list[str]:
    """The driver's distlab, from where it was installed (PEP 610).

    A wheel, a folder or a repository is named again, what is installed editable is so there, too,
    and what came from an index comes from it in the same version.
    """
    found = distribution("distlab")
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    url = str(origin.get("url", ""))
    if origin.get("dir_info", {}).get("editable"):
        return ["--editable", url]
    if commit := origin.get("vcs_info", {}).get("commit_id"):
        return [f"distlab @ {origin['vcs_info']['vcs']}+{url}@{commit}"]
    return [f"distlab @ {url}" if url else f"distlab=={found.version}"]


def extra(framework: str, wanted: str | None, build: str = "cpu") -> list[str]:
    """What distlab's extra for a framework names, the framework first.

    Its GPU build is called as its CPU build, or more: ``paddlepaddle``, ``paddlepaddle-gpu``.
    """
    metadata = distribution("distlab").metadata
    extras = metadata.get_all("Provides-Extra") or []
    chosen = f"{GPU}-{framework}" if build == GPU else framework
    if chosen not in extras or chosen in ("cpu", "dev"):
        raise DistlabError(
            f"an environment for {framework}",
            f"distlab has no extra for it: {', '.join(extras)}",
            "one that you make, with distlab, Ray and the framework: framework.environment=PATH",
        )
    named = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    named = [one for one in named if one.marker and one.marker.evaluate({"extra": chosen})]
    named = [one for one in named if not one.marker or not one.marker.evaluate({"extra": ""})]
    for one in named:
        one.marker = None
    base = named[0].name if build != GPU else distribution_of(framework)
    named.sort(key=lambda one: not one.name.startswith(base))
    if not named[0].name.startswith(base):
        raise DistlabError(
            f"an environment for {framework} build={build}",
            f"the package index has no such build of {base}",
            "one that you make, as docs/gpu.md says: framework.environment=PATH",
        )
    if wanted is not None:
        named[0].specifier = SpecifierSet(f"=={Version(wanted)}")
    return [str(one) for one in named]


def distribution_of(framework: str, build: str = "cpu") -> str:
    """What a framework is called where it is installed from: ``paddlepaddle`` for ``paddle``."""
    return Requirement(extra(framework, None, build)[0]).name
