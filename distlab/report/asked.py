"""Which study a command is asked about: its ``name=value`` words, and the study, read."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from distlab.errors import DistlabError
from distlab.experiment.command_line.words import at_home
from distlab.experiment.options import (
    TrackingOptions,
    flat,
    mlflow_variables,
    with_mlflow_variables,
)
from distlab.files import content
from distlab.masking import mask
from distlab.outcome.restored import bounds, records
from distlab.outcome.restored.bounds import NotRestoredError

PATHS = ("file", "output", "tracking.uri")
"""Options in which ``~`` is the user's home."""


@dataclass
class Store:
    """The section ``tracking``: where a study is looked for."""

    uri: str | None = None
    experiment: str | None = None


@dataclass
class Asked:
    """What the command line of any command about a study may say."""

    study: str | None = None
    file: str | None = None
    tracking: Store = field(default_factory=Store)


Options = TypeVar("Options", bound=Asked)


def parse(words: Sequence[str], options: type[Options], command: str) -> Options:
    """Read ``name=value`` words; values are taken as they stand.

    Parameters
    ----------
    words:
        The command line after the command.
    options:
        What it may say, with its defaults.
    command:
        ``python -m distlab.report``, for what is said of a mistake.

    Raises
    ------
    DistlabError
        If a word is no option, naming the nearest one.
    """
    config: DictConfig = OmegaConf.structured(options)
    names = list(flat(options()))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in names:
            near = difflib.get_close_matches(name.lstrip("-"), names, 1, 0.5)
            raise DistlabError(
                f"{command} {' '.join(words)}",
                f"{word!r} is no option; the options are {', '.join(names)}",
                f"did you mean {near[0]}={value or '...'} ?"
                if near
                else f"for example {command} study=0a1b2c3d",
            )
        try:
            # Not as YAML, which would make a number of the id 12e45678.
            if name in PATHS:
                value = at_home(value)
            OmegaConf.update(config, name, None if value in ("", "null") else value)
        except OmegaConfBaseException as error:
            raise DistlabError(
                word, str(error).splitlines()[0], f"{name}=... with a value"
            ) from error
    asked = OmegaConf.to_object(config)
    assert isinstance(asked, options)
    if asked.file is not None and (asked.study is not None or asked.tracking.uri is not None):
        raise DistlabError(
            f"{command} {' '.join(words)}",
            "a study is read either from a file or from a store",
            f"{command} file={asked.file}",
        )
    return asked


def read(path: Path) -> dict[str, Any]:
    """Read a study from a file, whoever wrote it.

    Raises
    ------
    DistlabError
        If there is no such file or it holds no study.
    """
    try:
        return records.study(bounds.parsed(content(path, bounds.MOST_BYTES)))
    except (OSError, NotRestoredError) as error:
        raise DistlabError(
            f"to report file={path}", str(error), "file=<folder of the study>/study.json"
        ) from error


def load(asked: Asked, console: Console) -> tuple[dict[str, Any], TrackingOptions | None]:
    """The study that is asked about, and the store that it is from; None for a file.

    What a store's reader could not read is told on the console.

    Raises
    ------
    DistlabError
        If there is none.
    """
    if asked.file is not None:
        return read(Path(asked.file)), None
    from distlab.tracking import reader

    named = TrackingOptions(asked.tracking.uri, asked.tracking.experiment)
    tracking = with_mlflow_variables(named)
    if used := mlflow_variables(tracking):
        console.print(f"as the environment says: {mask(used)}", soft_wrap=True)
    study = reader.load(tracking, asked.study, Path.cwd())
    say = partial(console.print, soft_wrap=True)
    for line in reader.lost(study):
        say(line)
    return study, tracking
