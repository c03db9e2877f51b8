"""``python -m distlab.report [study=ID] [file=study.json] [output=FOLDER] [tracking.uri=...]``."""

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from distlab.console import Terminal, complain, ready
from distlab.errors import DistlabError
from distlab.experiment.options import (
    TrackingOptions,
    flat,
    mlflow_variables,
    with_mlflow_variables,
)
from distlab.experiment.words import at_home
from distlab.files import content, slug
from distlab.masking import mask
from distlab.outcome.restored import bounds, records
from distlab.outcome.restored.bounds import NotRestoredError
from distlab.report.formats import files, terminal

FAILED, INTERRUPTED = 1, 130
PATHS = ("file", "output", "tracking.uri")
"""Options in which ``~`` is the user's home."""
USAGE = """\
python -m distlab.report [option=value ...]

Reports a study that was recorded in MLflow: the latest, if none is named.

study=ID                  the study's id, or its first characters
tracking.uri=URI          where it was recorded (default: MLFLOW_TRACKING_URI, else
                          ./mlruns/mlflow.db)
tracking.experiment=NAME  under which experiment (default: MLFLOW_EXPERIMENT_NAME, else distlab)
file=study.json           report from a file instead, without a store
output=FOLDER             where to write (default: ./reports/ and the first 8 characters of the id)
"""


@dataclass
class Store:
    """The section ``tracking``: where a study is looked for."""

    uri: str | None = None
    experiment: str | None = None


@dataclass
class ReportOptions:
    """What the command line may say."""

    study: str | None = None
    file: str | None = None
    output: str | None = None
    tracking: Store = field(default_factory=Store)


def parse(words: Sequence[str]) -> ReportOptions:
    """Read ``name=value`` words; values are taken as they stand.

    Raises
    ------
    DistlabError
        If a word is no option, naming the nearest one.
    """
    config: DictConfig = OmegaConf.structured(ReportOptions)
    names = list(flat(ReportOptions()))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in names:
            near = difflib.get_close_matches(name.lstrip("-"), names, 1, 0.5)
            raise DistlabError(
                f"python -m distlab.report {' '.join(words)}",
                f"{word!r} is no option; the options are {', '.join(names)}",
                f"did you mean {near[0]}={value or '...'} ?"
                if near
                else "for example python -m distlab.report study=0a1b2c3d",
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
    options = OmegaConf.to_object(config)
    assert isinstance(options, ReportOptions)
    if options.file is not None and (options.study is not None or options.tracking.uri is not None):
        raise DistlabError(
            f"python -m distlab.report {' '.join(words)}",
            "a study is read either from a file or from a store",
            f"python -m distlab.report file={options.file}",
        )
    return options


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


def report(options: ReportOptions, console: Console) -> None:
    """Load the study, write its report, log it to the study's own run, and show the main part."""
    out = None
    if options.file is None:
        from distlab.report.publish import publish
        from distlab.tracking import reader, study_writer

        asked = TrackingOptions(options.tracking.uri, options.tracking.experiment)
        tracking = with_mlflow_variables(asked)
        if used := mlflow_variables(tracking):
            console.print(f"as the environment says: {mask(used)}", soft_wrap=True)
        study = reader.load(tracking, options.study, Path.cwd())
        say = partial(console.print, soft_wrap=True)
        for line in reader.lost(study):
            say(line)
        out = study_writer.page(tracking, Path.cwd(), study["study"], say)
    else:
        study = read(Path(options.file))
    output = Path(options.output or f"reports/{slug(study['study'][:8])}")
    try:
        if out is None:
            page = files.write(study, output)
        else:
            page = publish(study, output, out)
            out.close()
    except OSError as error:
        raise DistlabError(
            f"to write the report into output={output}",
            str(error),
            "output=FOLDER with a folder that may be written",
        ) from error
    terminal.show(study, page, console)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 on success, 1 on an error, 130 if interrupted."""
    ready()
    words = sys.argv[1:] if words is None else words
    console = Terminal()
    if {"-h", "--help"} & set(words):
        console.print(USAGE, end="", soft_wrap=True)
        return 0
    try:
        report(parse(words), console)
    except DistlabError as error:
        complain(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
