"""The config tree as Hydra composes it: where it lies, its schema and resolvers, its names."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from distlab.backends import registry
from distlab.experiment.command_line.listing import listed
from distlab.experiment.options import Options, flat
from distlab.files import slug

_PACKAGED = Path(__file__).parents[1] / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
"""The config tree: inside the installed package, or at the top of the repository."""


def register() -> None:
    """Give Hydra the schema, and a ``framework`` choice for each backend of another package.

    In config files, ``${case:VALUE,{NAME:RESULT}}`` is the result for a value, null without one,
    ``${slug:TEXT}`` is :func:`distlab.files.slug` of a text, ``${run:RESUME,FRAMEWORK,MODEL}`` is
    how the folder of a run by itself is called, and ``${listed:}`` what ``--help`` shows of all
    options.
    """
    from hydra.core.config_store import ConfigStore  # Workers do without Hydra.

    OmegaConf.register_new_resolver("slug", lambda text: slug(str(text)), replace=True)
    OmegaConf.register_new_resolver("case", lambda value, results: results.get(value), replace=True)
    OmegaConf.register_new_resolver("run", _run_folder, replace=True)
    OmegaConf.register_new_resolver("listed", _listed, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Options)
    for name, entry in registry.available().items():
        if entry.dist is not None and entry.dist.name != "distlab":
            node = {"name": name, "package": entry.module.split(".")[0], "extra": name}
            store.store(group="framework", name=name, node=node)


def _listed(*, _root_: DictConfig) -> str:
    """The options, for a template in which ``$`` has a meaning."""
    return listed(_root_).replace("$", "$$")


def _run_folder(resume: str | None, framework: str, model: str) -> str:
    """How the folder of a run is called: by what it is, or by the run that it goes on with.

    Of that, the command says no more than the id; framework and model are but its defaults.
    """
    return f"resumed_{slug(str(resume))[:8]}" if resume else f"{slug(framework)}_{slug(model)}"


def names() -> list[str]:
    """All that a user may name: options (``data.dir``) and choices (``framework/torch``)."""
    choices = [f"{file.parent.name}/{file.stem}" for file in CONF.glob("*/*.yaml")]
    frameworks = [f"framework/{name}" for name in registry.available()]
    return sorted({*flat(Options()), *choices, *frameworks})


def package_of(framework: str) -> str:
    """What a framework is imported as: ``tensorflow`` for ``tf``."""
    file = CONF / "framework" / f"{framework}.yaml"
    if file.exists():
        return str(OmegaConf.load(file).package)
    return registry.available()[framework].module.split(".")[0]
