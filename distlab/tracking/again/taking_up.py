"""Taking a run up again that was broken off: which it is, and that nobody else works at it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from distlab.errors import DistlabError
from distlab.masking import mask
from distlab.tracking import owner
from distlab.tracking.reader import KIND, STUDY
from distlab.tracking.run_writer import CHECKPOINTS
from distlab.tracking.store import Store

ID_DIGITS = 32
SEARCHED = 1000
# What the end before says, which the next end replaces.
OF_AN_END = (owner.REASON, "error", "log")


@dataclass(frozen=True)
class BrokenOff:
    """A run that is to go on.

    Attributes
    ----------
    run_id:
        MLflow's whole id.
    checkpoints:
        Where its checkpoints are.
    ended:
        How it ended before, in a few words.
    """

    run_id: str
    checkpoints: str
    ended: str


def broken_off(store: Store, run_id: str, take_over: bool = False) -> BrokenOff:
    """The run of an id or its first digits, if it can go on.

    Raises
    ------
    DistlabError
        If there is no such run, another process works at it or, unless with ``take_over``, may do
        so on another host, it has ended in order, or it left nothing to go on from.
    """
    run = _find(store, run_id)
    tags, found = run.data.tags, run.info.run_id
    asked = f"resume={run_id}"
    if tags.get(KIND) == STUDY:
        raise DistlabError(asked, "it is a study", f"study={found}")
    if "study" in tags:
        raise DistlabError(asked, "it is a run of a study", f"study={tags['study']}")
    if run.info.status == "FINISHED":
        raise DistlabError(asked, "it has ended in order", "a new run: leave resume= out")
    if CHECKPOINTS not in tags:
        raise DistlabError(
            asked, "it kept no checkpoints (checkpoint.every=0)", "a new run: leave resume= out"
        )
    if run.info.status == "RUNNING":
        for one in owner.of(run):
            if one.alive or (one.alive is None and not take_over):
                raise owner.owned(asked, one)
    why = tags.get(owner.REASON) or tags.get("error", "").partition("\n")[0]
    ended = f"{run.info.status}{f', {why}' if why else ''}"
    return BrokenOff(found, tags[CHECKPOINTS], ended)


def take_up(store: Store, run_id: str, take_over: bool, say: Callable[[str], None]) -> None:
    """Become a run's only owner, and mark it as running.

    Parameters
    ----------
    store:
        Where it is recorded.
    run_id:
        Its whole id.
    take_over:
        Whether to take it from an owner on another host that can't be asked.
    say:
        Where to say that a dead owner's run is taken over.

    Raises
    ------
    DistlabError
        If another process works at it.
    """
    client: MlflowClient = store.client
    owner.claim(client, run_id, take_over, say, f"resume={run_id}")
    tags = client.get_run(run_id).data.tags
    for name, value in owner.tags().items():
        client.set_tag(run_id, name, value)
    for name in OF_AN_END:
        if name in tags:
            with contextlib.suppress(MlflowException):
                client.delete_tag(run_id, name)
    client.update_run(run_id, status="RUNNING")


def _find(store: Store, run_id: str) -> Run:
    """A run by its id, or by the first digits of it."""
    client: MlflowClient = store.client
    if len(run_id) == ID_DIGITS:
        with contextlib.suppress(MlflowException):
            return client.get_run(run_id)
    found = client.search_runs(
        [store.experiment_id], max_results=SEARCHED, order_by=["attributes.start_time DESC"]
    )
    fitting = [run for run in found if run_id and run.info.run_id.startswith(run_id)]
    if len(fitting) == 1:
        return fitting[0]
    broken = [run for run in found if run.info.status != "FINISHED" and _alone(run)]
    ids = "\n".join(f"  {one.info.run_id}  {one.info.run_name}" for one in broken[:5])
    problem = "several runs begin so" if fitting else "there is no such run"
    raise DistlabError(
        f"resume={run_id} in {mask(store.uri)}, experiment {store.experiment}",
        f"{problem}; broken off were\n{ids}" if broken else f"{problem}, and none was broken off",
        "give the whole id: resume=ID" if broken else "a new run: leave resume= out",
    )


def _alone(run: Run) -> bool:
    """Whether it is a run by itself."""
    return "study" not in run.data.tags and run.data.tags.get(KIND) != STUDY
