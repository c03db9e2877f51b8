"""``cluster=job``: the command runs on the head of a Ray elsewhere, and is shown and stopped here.

Its words are handed over, with the files of models that they name; its records go to the store that
both reach, and from there what a run leaves comes back into its folder here.
"""

import os
import shlex
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from distlab.cluster.job.remote import STOP_S, Job, brief
from distlab.console import Terminal, shown
from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.options import ClusterMode, Options
from distlab.masking import mask
from distlab.tracking.job import outputs
from distlab.tracking.origin import VARIABLE

DONE, GOES_ON = "SUCCEEDED", ("PENDING", "RUNNING")
FOLDER = "~/distlab-jobs"
"""Where, on the head, each job has a folder for what it writes; it stays."""
HERE = ("cluster", "cluster.address", "cluster.mode", "hydra.run.dir", "hydra.sweep.dir")
"""Options that are this machine's."""
FILES = ("model",)
"""Options that may name a file of this machine, which goes along."""
THERE = (f"cluster={ClusterMode.existing}", "cluster.address=auto")
"""What stands for ``cluster=job`` in the command that the head runs."""
MISSING = ("No module named distlab", "python: not found", "python: command not found")
"""What a shell says of a command that the head doesn't have."""


class Stopped(KeyboardInterrupt):
    """The command was ended by a signal, and how its job ended is told."""


def asked(planned: Sequence[Options]) -> bool:
    """Whether options want the command handed over."""
    return planned[0].cluster.mode is ClusterMode.job


def hand_over(options: Options, folder: Path) -> None:
    """Run this command as a job, to its end, and bring what it leaves into a folder.

    Raises
    ------
    DistlabError
        If it cannot be handed over, or the head answers no more; what the store has by then is
        brought.
    SystemExit
        With the job's exit code, if that isn't 0.
    Stopped
        After the job was stopped, or could not be, when the command got a signal.
    """
    address = str(options.cluster.address)
    _check_store(options)
    id = f"distlab-{uuid.uuid4().hex[:12]}"
    console = Terminal(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="distlab-job-") as place:
        sent = shipped(words.typed(), Path(place))
        job = Job.begin(
            address,
            id,
            entrypoint(id, sent, options, files=any(Path(place).iterdir())),
            {VARIABLE: id},
            Path(place) if any(Path(place).iterdir()) else None,
        )
    console.print(f"job {id} at {mask(address)}")
    text: list[str] = []

    def show(new: str) -> None:
        text[:] = [*text, new][-2:]
        # A command that it advises is pasted here, where the job's words would join another Ray.
        new = new.replace(" ".join(THERE), f"cluster={ClusterMode.job} cluster.address={address}")
        sys.stdout.write(shown(mask(new)))
        sys.stdout.flush()

    try:
        status = job.follow(show)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        console.print(f"stopping the job, for at most {STOP_S} s")
        by_hand = f"stop it with: ray job stop --address {address} {id}"
        try:
            job.stop()
            status = job.follow(show, 2 * STOP_S)
            late = status in GOES_ON
            console.print(
                mask(f"the job is {status}, {by_hand}" if late else f"the job is {status}")
            )
        except Exception as error:
            console.print(mask(f"the job may go on, {by_hand}\n{brief(error)}"))
        _bring(options, id, folder, console)
        raise Stopped from None
    except DistlabError:
        _bring(options, id, folder, console)
        raise
    _bring(options, id, folder, console)
    if status == DONE:
        return
    if any(one in "".join(text) for one in MISSING):
        raise DistlabError(
            f"python -m distlab.launch on the head of {address}",
            "the Python that Ray was started from there has no distlab, or is not first in PATH",
            "in that environment: pip install distlab, then ray stop and ray start --head",
        )
    code = job.code
    if code is None:
        console.print(f"the job ended as {status}: {job.why}")
    raise SystemExit(code or 1)


def entrypoint(id: str, sent: Sequence[str], options: Options, files: bool) -> str:
    """The shell's command on the head: this one, which joins the Ray there.

    Raises
    ------
    DistlabError
        If it holds a secret, which Ray would show to whoever sees its dashboard.
    """
    tracking = options.tracking
    there = [
        *THERE,
        f"tracking.uri={tracking.uri}",
    ]
    if tracking.experiment:
        there.append(f"tracking.experiment={tracking.experiment}")
    kept = [word for word in sent if word.split("=")[0].lstrip("+") not in _SET]
    line = shlex.join(["python", "-m", "distlab.launch", *kept, *there])
    if mask(line) != line:
        raise DistlabError(
            f"{mask(line)} as a job",
            "a job's command is shown on Ray's dashboard, and this one holds a secret (***)",
            "have the environment hold it that Ray is started in on the head: "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a variable of workers",
        )
    own = f"{FOLDER}/{id}"
    brought = "cp -r . " + own + " && " if files else ""
    # In place of the shell, so that the signal that stops the job is the command's.
    return f"mkdir -p {own} && {brought}cd {own} && exec {line}"


_SET = (*HERE, "tracking.uri", "tracking.experiment")


def shipped(typed: Sequence[str], place: Path) -> list[str]:
    """The words of a command; files that they name are copied into a folder and named there."""
    return [_shipped(word, place) for word in typed]


def _shipped(word: str, place: Path) -> str:
    name, _, value = word.partition("=")
    if name not in FILES:
        return word
    parts = []
    for part in value.split(","):
        file = Path(words.at_home(part.strip("'\" ")))
        if file.suffix in (".yaml", ".yml") and file.is_file():
            target = place / file.name
            if target.exists():
                target = place / f"{uuid.uuid4().hex[:6]}_{file.name}"
            shutil.copyfile(file, target)
            part = f"./{target.name}"
        parts.append(part)
    return f"{name}={','.join(parts)}"


def _check_store(options: Options) -> None:
    """Refuse a store that the head cannot write to."""
    uri = options.tracking.uri or ""
    if not uri or uri.startswith("sqlite") or "://" not in uri:
        raise DistlabError(
            f"cluster=job with tracking.uri={uri or 'null'}",
            "the command runs on another machine, where this store is not",
            "a server that both machines reach: tracking.uri=http://HOST:5000\n"
            "to start one: mlflow server --host 0.0.0.0 (docs/security.md)",
        )


def _bring(options: Options, id: str, folder: Path, console: Terminal) -> None:
    """Bring back what the job recorded; that it can't be is told, and no more."""
    try:
        runs = outputs.fetch(options.tracking, id, folder)
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        console.print(mask(f"what it recorded stays in the store, and is not here: {why}"))
        return
    if runs:
        console.print(f"here:    {os.path.relpath(folder)}")
