"""``python -m distlab.tracking sync [FOLDER] [tracking.uri=...] [tracking.experiment=...]``."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from distlab.console import FAILED, Terminal, answer
from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.masking import learn, learn_environment, mask
from distlab.tracking.sending.journal import FILES
from distlab.tracking.sending.sync import sync

USAGE = """\
python -m distlab.tracking sync [FOLDER] [option=value ...]

Sends to MLflow what runs could not send, because the server did not answer or their process was
killed, and kept beside them (mlflow-*.jsonl). What is sent already is not sent again.

FOLDER                    a run's, a study's, or one above them (default: outputs)
tracking.uri=URI          where to (default: where the runs were to be recorded)
tracking.experiment=NAME  under which experiment (default: that of the runs)
"""


def parse(words: Sequence[str]) -> tuple[Path, TrackingOptions]:
    """The folder and what is said of the store.

    Raises
    ------
    DistlabError
        If the words are no such command, or there is no such folder.
    """
    asked = f"python -m distlab.tracking {' '.join(words)}".strip()
    fix = "python -m distlab.tracking sync outputs"
    if not words or words[0] != "sync":
        raise DistlabError(asked, "the only command is sync", fix)
    options = TrackingOptions()
    folders = []
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if name == "tracking.uri" and equals:
            options.uri = value
        elif name == "tracking.experiment" and equals:
            options.experiment = value
        else:
            folders.append(Path(word).expanduser())
    folder = folders[0] if folders else Path("outputs")
    if len(folders) > 1 or not folder.is_dir():
        wrong = folders[1] if len(folders) > 1 else folder
        raise DistlabError(asked, f"{wrong} is no folder and no option", fix)
    return folder, options


def _send(words: Sequence[str], terminal: Terminal) -> int:
    """Send what is kept, and say so."""
    say = partial(terminal.print, soft_wrap=True)
    learn_environment()
    folder, options = parse(words)
    learn({"tracking.uri": options.uri})
    if not any(folder.rglob(FILES)):
        say(f"nothing is kept in {folder}: MLflow has all of it")
        return 0
    return 0 if sync(folder, options, Path.cwd(), lambda line: say(mask(line))) else FAILED


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all is sent, 1 if something is left or on an error."""
    return answer(_send, USAGE, words)


if __name__ == "__main__":
    sys.exit(main())
