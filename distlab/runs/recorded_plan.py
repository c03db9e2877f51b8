"""The cells of a plan as they are recorded, and read back from what a store kept."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distlab.errors import DistlabError
from distlab.experiment.options import Options
from distlab.experiment.validate import checked
from distlab.masking import HIDDEN
from distlab.runs.plan import Cell


def plain(cell: Cell) -> dict[str, Any]:
    """A cell as JSON-able values."""
    container = OmegaConf.to_container(OmegaConf.structured(cell.options), enum_to_str=True)
    assert isinstance(container, dict)
    data = {**container["data"], "sha256": cell.checksum}
    own = {"recorded_as": cell.recorded_as} if cell.recorded_as else {}
    return {**{str(name): value for name, value in container.items()}, "data": data, **own}


def restored(values: Mapping[str, Any], now: Options) -> tuple[Options, str | None, str | None]:
    """Options from :func:`plain`, with the tracking, the cluster and the study of this command.

    Returns
    -------
    tuple
        The options, the checksum of the data, and the key under which the cell was recorded if that
        isn't the one it would have now; both are None in plans that data had no checksum in.

    Raises
    ------
    DistlabError
        If the plan is damaged, or a secret among the options, which is not recorded, is not in the
        environment either.
    """
    asked = f"study={now.study}"
    try:
        data = dict(values["data"])
        checksum, recorded_as = data.pop("sha256", None), values.get("recorded_as")
        known = {
            **{name: value for name, value in values.items() if name != "recorded_as"},
            "data": data,
        }
        known["framework"] = _with_secrets(values["framework"], asked)
        merged = OmegaConf.merge(OmegaConf.structured(Options), _verbatim(known))
        options = OmegaConf.to_object(merged)
        assert isinstance(options, Options)
        for name in (checksum, recorded_as):
            if not isinstance(name, str | None) or (name and not re.fullmatch(r"\w{16,64}", name)):
                raise ValueError(f"{name!r:.40} is no checksum")
    except (OmegaConfBaseException, KeyError, TypeError, ValueError) as error:
        raise DistlabError(
            asked,
            f"the plan of the study is damaged: {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]:.200}",
            "begin a study anew, without study=",
        ) from error
    surrounded = replace(options, tracking=now.tracking, cluster=now.cluster, study=now.study)
    return checked(surrounded), checksum, recorded_as


def _verbatim(value: Any) -> Any:
    """A recorded value in which OmegaConf finds nothing to fill in: ``${oc.env:NAME}`` is text."""
    if isinstance(value, Mapping):
        return {name: _verbatim(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_verbatim(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: rf"{found[1] * 2}\${{", value)
    return value


def _with_secrets(value: Any, asked: str, name: str = "") -> Any:
    """A recorded value with what was masked in it, from the driver's variable of the same name.

    Raises
    ------
    DistlabError
        If there is no such variable.
    """
    if isinstance(value, Mapping):
        return {key: _with_secrets(inner, asked, str(key)) for key, inner in value.items()}
    if not isinstance(value, str) or HIDDEN not in value:
        return value
    if name not in os.environ:
        raise DistlabError(
            asked,
            f"a cell has the variable {name}, a secret, which is recorded nowhere",
            f"give it in the environment: {name}=... python -m distlab.launch {asked}",
        )
    return os.environ[name]
