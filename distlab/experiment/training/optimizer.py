"""Which optimizer, and its numbers: one file of ``conf/optimizer/`` each."""

from dataclasses import asdict, replace
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from distlab.errors import DistlabError
from distlab.experiment.config_tree import CONF
from distlab.experiment.options import OptimizerName, OptimizerOptions, OptimizerVariant

NOT_A_NUMBER = ("name", "variant")
BELOW_ONE = ("beta1", "beta2", "momentum")


@cache
def file(name: str) -> dict[str, Any]:
    """What the file of an optimizer says, by the names of its numbers."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / "optimizer" / f"{name}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key not in NOT_A_NUMBER}


def completed(asked: OptimizerOptions) -> OptimizerOptions:
    """The same with all its numbers: those that were not given are the file's.

    Raises
    ------
    DistlabError
        If it has no such number, or one that is not possible.
    """
    own = file(str(asked.name))
    given = {
        name: value
        for name, value in asdict(asked).items()
        if name not in NOT_A_NUMBER and value is not None
    }
    for name, value in given.items():
        if name not in own:
            raise DistlabError(
                f"optimizer.name={asked.name} optimizer.{name}={_text(value)}",
                f"{asked.name} has no {name}; it has {' and '.join(own)}",
                f"optimizer={asked.name}, or that of which it is: optimizer={_owner(name)}",
            )
    values = {**own, **given}
    for name, value in values.items():
        _check(name, value, values)
    if asked.variant is OptimizerVariant.stock and asked.name is not OptimizerName.adam:
        raise DistlabError(
            f"optimizer={asked.name} optimizer.variant=stock",
            "stock is the framework's own Adam; of the others there is the formula alone",
            f"optimizer={asked.name}",
        )
    return replace(asked, **values)


def numbers(chosen: OptimizerOptions) -> dict[str, Any]:
    """Its numbers by their names; the file's, where they were not given."""
    found = file(str(chosen.name))
    given = {name: getattr(chosen, name) for name in found}
    return {name: found[name] if value is None else value for name, value in given.items()}


def told(options: dict[str, str]) -> str:
    """An optimizer as a report calls it, with the numbers that are not usual.

    Parameters
    ----------
    options:
        Those of a run, as its record has them, perhaps of a time when Adam was the only one.
    """
    name = options.get("optimizer.name", "adam")
    usual = {number: str(value) for number, value in file(name).items()}
    given = {number: options.get(f"optimizer.{number}", value) for number, value in usual.items()}
    if name == "adam":
        given = {number: value for number, value in given.items() if value != usual[number]}
    words = [f"{number} {value}" for number, value in given.items() if value != "False"]
    called = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[name]
    return ", ".join([f"{called} ({options.get('optimizer.variant', 'reference')})", *words])


def _check(name: str, value: Any, values: dict[str, Any]) -> None:
    rule = None
    if name in BELOW_ONE and not 0 <= value < 1:
        rule = f"{name} lies from 0 to below 1"
    elif name == "epsilon" and not 0 < value < 1:
        rule = "epsilon lies between 0 and 1"
    elif name == "weight_decay" and not 0 <= value < 1:
        rule = "weight decay lies from 0 to below 1"
    elif name == "nesterov" and value and not values["momentum"]:
        raise DistlabError(
            f"optimizer.nesterov=true optimizer.momentum={values['momentum']}",
            "Nesterov's step looks ahead by the momentum, and there is none",
            "optimizer.nesterov=true optimizer.momentum=0.9",
        )
    if rule is not None:
        usual = next(inner[name] for one in OptimizerName if name in (inner := file(str(one))))
        raise DistlabError(
            f"optimizer.{name}={_text(value)}", rule, f"for example optimizer.{name}={usual}"
        )


def _owner(number: str) -> str:
    return next(str(name) for name in OptimizerName if number in file(str(name)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
