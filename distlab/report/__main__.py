"""``python -m distlab.report [study=ID] [file=study.json] [output=FOLDER] [tracking.uri=...]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from distlab.console import answer
from distlab.errors import DistlabError
from distlab.files import slug
from distlab.report import asked
from distlab.report.asked import Asked, load
from distlab.report.formats import files, terminal

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
class ReportOptions(Asked):
    """What the command line may say."""

    output: str | None = None


def parse(words: Sequence[str]) -> ReportOptions:
    """Read the command line: see :func:`distlab.report.asked.parse`."""
    return asked.parse(words, ReportOptions, "python -m distlab.report")


def report(options: ReportOptions, console: Console) -> None:
    """Load the study, write its report, log it to the study's own run, and show the main part."""
    study, tracking = load(options, console)
    out = None
    if tracking is not None:
        from distlab.report.publish import publish
        from distlab.tracking import study_writer

        say = partial(console.print, soft_wrap=True)
        out = study_writer.page(tracking, Path.cwd(), study["study"], say)
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
    return answer(lambda given, terminal: report(parse(given), terminal), USAGE, words)


if __name__ == "__main__":
    sys.exit(main())
