"""A study read back from the store: its MLflow run, and those below it.

The store alone holds a study: its plan and its environment are artifacts of the parent run, its
runs are the parent's children. So a study that stopped anywhere can be read and continued.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from distlab.errors import DistlabError
from distlab.experiment.names import chosen
from distlab.experiment.options import TrackingOptions
from distlab.files import content
from distlab.masking import mask
from distlab.measure.efficiency import scaling
from distlab.outcome import caveats, environment
from distlab.outcome.restored import bounds, records
from distlab.outcome.restored.bounds import NotRestoredError
from distlab.outcome.schema import VERSION
from distlab.tracking.store import Store, now_ms, open_store, unanswered

KIND, STUDY = "kind", "study"
PLAN, ENVIRONMENT, SUMMARY = "plan.json", "environment.json", "summary.json"
PAGE = 1000


# What a failed run is described by, and the parameter of its MLflow run that tells it.
DESCRIBED_BY = {
    "framework": "framework.name",
    "execution": "execution",
    "precision": "precision",
    "model": "model.name",
    "scaling": "scaling",
    "device": "device",
}


class LostError(Exception):
    """An artifact that isn't in the store any more, or is damaged; the message says which."""


def load(options: TrackingOptions, study: str | None, folder: Path) -> dict[str, Any]:
    """A study and its runs as plain data (the content of ``study.json``).

    Parameters
    ----------
    options:
        The store.
    study:
        Id of the study or its first digits; None for the latest.
    folder:
        Folder of the command, for the default store.

    Raises
    ------
    DistlabError
        If there is no such study.
    """
    store = open_store(options, folder, make=False)
    return gather(store.client, find(store, study))


def find(store: Store, study: str | None) -> Run:
    """The study's MLflow run, by its id, its first digits, or as the latest.

    Raises
    ------
    DistlabError
        If there is none, or the digits fit several.
    """
    found = store.client.search_runs(
        [store.experiment_id],
        f"tags.{KIND} = '{STUDY}'",
        max_results=PAGE,
        order_by=["attributes.start_time DESC"],
    )
    fitting = [run for run in found if run.info.run_id.startswith(study or "")]
    if not fitting or (study and len(fitting) > 1):
        ids = "\n".join(f"  {run.info.run_id}  {run.info.run_name}" for run in found[:5])
        asked = f"study={study}" if study else "the latest study"
        problem = "several studies begin so" if fitting else "there is no such study"
        raise DistlabError(
            f"{asked} in {mask(store.uri)}, experiment {store.experiment}",
            f"{problem}; the latest are\n{ids}" if found else "there is no study at all",
            "give the whole id: study=ID"
            if found
            else "make one: python -m distlab.launch -m framework=torch,tf repeats=3",
        )
    return fitting[0]


def children(client: MlflowClient, parent: Run) -> list[Run]:
    """The study's runs of any status, in the order in which they began."""
    where = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    order = ["attributes.start_time ASC"]
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [parent.info.experiment_id], where, max_results=PAGE, order_by=order, page_token=token
        )
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def gather(client: MlflowClient, parent: Run) -> dict[str, Any]:
    """Gather the study from its parent run and its children.

    A run whose summary is lost is among the failed ones, with what became of it as its error.
    """
    tags, info = parent.data.tags, parent.info
    runs: dict[tuple[str, int], dict[str, Any]] = {}
    failed: dict[tuple[str, int], dict[str, Any]] = {}
    for child in children(client, parent):
        key = (child.data.tags.get("cell", ""), int(bounds.number(child.data.tags.get("repeat"))))
        if child.info.status == "FINISHED":
            try:
                runs[key] = summary_of(client, child.info.run_id)
            except LostError as error:
                failed[key] = {
                    **failure(child.data.params, child.data.tags, *key),
                    "error": str(error),
                }
        elif child.info.status == "FAILED":
            failed[key] = failure(child.data.params, child.data.tags, *key)
    baselines = []
    for run_id in filter(None, tags.get("baselines", "").split(",")):
        with contextlib.suppress(LostError):
            baselines.append(summary_of(client, run_id))
    summaries = list(runs.values())
    relate(summaries, baselines)
    ended = info.end_time if info.status == "FINISHED" else None
    return {
        "schema_version": VERSION,
        "study": info.run_id,
        "name": info.run_name,
        "command": tags.get("command", ""),
        "experiment": tags.get("experiment"),
        "started": iso(info.start_time),
        "finished": iso(ended) if ended else None,
        "wall_s": bounds.number(tags.get("wall_s")),
        "looks": max(1, int(bounds.number(tags.get("looks"), 1))),
        "distlab_version": tags.get("distlab_version", ""),
        "git_commit": tags.get("mlflow.source.git.commit"),
        "environment": _environment(
            client, info.run_id, (run["mlflow"]["run_id"] for run in summaries)
        ),
        "tracking_uri": mask(client.tracking_uri),
        "experiment_id": info.experiment_id,
        "runs": summaries,
        "failed": [entry for key, entry in failed.items() if key not in runs],
        "baselines": baselines,
    }


def begun(
    store: Store, study: str, name: str, tags: Mapping[str, str], surroundings: dict[str, Any]
) -> dict[str, Any]:
    """A study that has just begun, as :func:`gather` gives it."""
    return {
        "schema_version": VERSION,
        "study": study,
        "name": name,
        "command": mask(tags.get("command", "")),
        "experiment": tags.get("experiment"),
        "started": iso(now_ms()),
        "finished": None,
        "wall_s": 0.0,
        "looks": 1,
        "distlab_version": tags["distlab_version"],
        "git_commit": tags.get("mlflow.source.git.commit"),
        "environment": surroundings,
        "tracking_uri": mask(store.uri),
        "experiment_id": store.experiment_id,
        "runs": [],
        "failed": [],
        "baselines": [],
    }


def with_runs(
    study: dict[str, Any], ran: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A study with runs that its store doesn't have yet, as they stand in their folders."""

    def key(run: dict[str, Any]) -> tuple[str, int]:
        return run["cell"], run["repeat"]

    done = {key(run) for run in study["runs"]}
    runs = [*study["runs"], *(run for run in ran if key(run) not in done)]
    done |= {key(run) for run in runs}
    lost = {key(run): run for run in (*failed, *study["failed"]) if key(run) not in done}
    if len(runs) > len(study["runs"]):
        relate(runs, study["baselines"])
    return {**study, "runs": runs, "failed": list(lost.values())}


def relate(summaries: Sequence[dict[str, Any]], baselines: Sequence[dict[str, Any]]) -> None:
    """Add to each run its speed-up and scaling efficiency; None for runs without a baseline.

    Runs that do not count have none, and are none.
    """
    others = [one for one in (*summaries, *baselines) if caveats.counts(one)]
    for summary in summaries:
        found = scaling(summary, others) if caveats.counts(summary) else None
        summary["speedup"] = found and found.speedup
        summary["scaling_efficiency"] = found and found.efficiency
        summary["baseline_run_id"] = found and found.baseline_run_id


def failure(
    told: Mapping[str, str], tags: Mapping[str, str], cell: str, repeat: int
) -> dict[str, Any]:
    """A failed run as an entry of the study, from its parameters and tags."""

    def number(name: str, otherwise: int) -> int:
        return int(bounds.number(told.get(name), otherwise)) or otherwise

    return {
        **{name: told.get(parameter) for name, parameter in DESCRIBED_BY.items()},
        # Without gpus=N there is one worker where there are no GPUs.
        "world_size": number("gpus", 1),
        "options": chosen(told),
        "batch_size": number("batch_size", 0),
        "cell": cell,
        "repeat": repeat,
        "error": tags.get("error", ""),
        "log": tags.get("log"),
    }


def read(client: MlflowClient, run_id: str, name: str) -> Any:
    """A JSON artifact of a run; NaN and infinity, which earlier versions wrote, become None.

    Raises
    ------
    LostError
        If it isn't there or is damaged.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(client.download_artifacts(run_id, name, folder))
            return bounds.parsed(content(path, bounds.MOST_BYTES))
    except (MlflowException, OSError, NotRestoredError) as error:
        if unanswered(error):
            raise
        damaged = isinstance(error, NotRestoredError)
        said = f"is damaged: {error}" if damaged else "is lost"
        raise LostError(f"{name} of the run {run_id} {said}") from error


def summary_of(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """What a run recorded of itself."""
    try:
        return records.run(read(client, run_id, SUMMARY))
    except NotRestoredError as error:
        raise LostError(f"{SUMMARY} of the run {run_id} is damaged: {error}") from None


def _environment(client: MlflowClient, study: str, runs: Iterable[str]) -> dict[str, Any]:
    """Where a study began, or where one of its runs did if that is lost; else where this is."""
    for run_id in (study, *runs):
        with contextlib.suppress(LostError, NotRestoredError):
            return records.environment(read(client, run_id, ENVIRONMENT))
    return environment.describe()


def lost(study: dict[str, Any]) -> list[str]:
    """A line for each run of a study that ended well and whose summary can't be read."""
    return [run["error"] for run in study["failed"] if run["error"].startswith(f"{SUMMARY} of")]


def iso(milliseconds: int) -> str:
    """A moment of MLflow as ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
