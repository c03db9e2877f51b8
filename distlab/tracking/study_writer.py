"""The writer of a study: the parent MLflow run of its runs."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.masking import masked
from distlab.outcome import environment
from distlab.outcome.restored import bounds
from distlab.tracking import owner, reader
from distlab.tracking.origin import job_tag, origin
from distlab.tracking.pages import views
from distlab.tracking.reader import ENVIRONMENT, KIND, PLAN, STUDY
from distlab.tracking.run_writer import Part
from distlab.tracking.sending import calls
from distlab.tracking.sending.outbox import Connection, Outbox
from distlab.tracking.store import now_ms, open_store

_log = logging.getLogger(__name__)

# MLflow cuts a longer description off without a word.
NOTE_LENGTH = 8000
BOUNDS = ("_low", "_high")
"""Ends of the names of metrics that are the ends of another one's interval."""


class StudyTracker:
    """The MLflow run of a study, begun or taken up again.

    Where the store stops answering, the study goes on with what it knows: what the store held
    when it last answered, and the runs of this sitting.

    Attributes
    ----------
    study:
        The id of the study.
    connection:
        The command's store, which the study's runs share.
    out:
        Where calls for the study's own run go.
    """

    def __init__(self, out: Outbox, known: dict[str, Any], claim: str, looks: int = 0) -> None:
        self.out, self.connection, self.study = out, out.connection, out.run_id
        self._claim = claim
        self._known, self._looks, self._wall_before = known, looks, known["wall_s"]
        self._measured_against = {run["mlflow"]["run_id"] for run in known["baselines"]}
        self._ran: list[dict[str, Any]] = []
        self._failed: list[dict[str, Any]] = []

    @classmethod
    def begin(
        cls,
        options: TrackingOptions,
        folder: Path,
        name: str,
        plan: Sequence[Mapping[str, Any]],
        tags: Mapping[str, str],
        records: Path | None = None,
        say: Callable[[str], None] = _log.warning,
    ) -> "StudyTracker":
        """Make the run and record the plan and the environment.

        Parameters
        ----------
        options:
            Where to record.
        folder:
            Folder of the command, for the default store.
        name:
            Name of the run.
        plan:
            The cells, as JSON-able values; :meth:`plan` gives them back.
        tags:
            More tags.
        records:
            Folder of the study, which keeps what can't be sent; None to keep nothing.
        say:
            What shows a line to the user.
        """
        connection = Connection(open_store(options, folder), records, say)
        claim = owner.claim_tags()
        own = {KIND: STUDY, **origin(), **tags, **claim}
        out = Outbox(connection, records, name, own)
        surroundings = environment.describe()
        out.text(json.dumps(surroundings, indent=2), ENVIRONMENT)
        known = reader.begun(connection.store, out.run_id, name, own, surroundings)
        tracker = cls(out, known, next(iter(claim)))
        tracker.record_plan(plan)
        return tracker

    @classmethod
    def resume(
        cls,
        options: TrackingOptions,
        folder: Path,
        study_id: str,
        records: Path | None = None,
        say: Callable[[str], None] = _log.warning,
        take_over: bool = False,
    ) -> "StudyTracker":
        """Take a study up again, as its only owner; :meth:`go_on` then has it run.

        Parameters
        ----------
        options, folder, records, say:
            As for :meth:`begin`.
        study_id:
            Its id, or the first digits of it.
        take_over:
            Whether to take it from an owner on another host that can't be asked.

        Raises
        ------
        DistlabError
            If the store has no such study, or another process runs it.
        """
        store = open_store(options, folder, make=False)
        run = reader.find(store, study_id)
        claim = owner.claim(store.client, run.info.run_id, take_over, say)
        out = Outbox(Connection(store, records, say), records, "", {}, run.info.run_id)
        looks = int(bounds.number(run.data.tags.get("looks")))
        return cls(out, reader.gather(store.client, run), claim, looks)

    def go_on(self) -> None:
        """Mark it as running; runs that were broken off with an earlier command become KILLED."""
        client = self.connection.store.client
        for child in reader.children(client, client.get_run(self.study)):
            if child.info.status == "RUNNING":
                owner.end(client, child.info.run_id, "the study went on without its command")
        client.update_run(self.study, status="RUNNING")
        for name, value in job_tag().items():
            client.set_tag(self.study, name, value)

    def leave(self) -> None:
        """Give the study free for other commands."""
        self.out.batch(tags={self._claim: owner.left()})

    def plan(self) -> list[dict[str, Any]]:
        """The cells as they were recorded.

        Raises
        ------
        DistlabError
            If the plan is lost.
        """
        self.out.flush()
        try:
            found = reader.read(self.connection.store.client, self.study, PLAN)
            cells = found.get("cells") if isinstance(found, dict) else None
            if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
                raise reader.LostError(f"{PLAN} of the run {self.study} is damaged: it is no plan")
            return cells
        except reader.LostError as error:
            raise DistlabError(
                f"study={self.study}",
                str(error),
                f"its report can still be had: python -m distlab.report study={self.study}\n"
                "the same cells as a new study: the command that began it, without study=",
            ) from error

    @property
    def command(self) -> str:
        """The command that began it, as the store has it."""
        return str(self._known["command"])

    def data(self) -> dict[str, set[str]]:
        """For the key of each cell the checksums of the data that its finished runs had."""
        found: dict[str, set[str]] = {}
        client = self.connection.store.client
        for child in reader.children(client, client.get_run(self.study)):
            tags = child.data.tags
            if child.info.status == "FINISHED" and "data_sha256" in tags:
                found.setdefault(tags.get("cell", ""), set()).add(tags["data_sha256"])
        return found

    def record_plan(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """Record the cells, in place of those recorded before."""
        cells = {"cells": [masked(cell) for cell in plan]}
        self.out.text(json.dumps(cells, indent=2), PLAN)

    def ran(self, summary: dict[str, Any]) -> None:
        """Take note of a run of this sitting, as its summary has it."""
        self._ran.append(summary)

    def failed(self, part: Part, parameters: Mapping[str, Any], error: str) -> None:
        """Record a run that failed, where it had no MLflow run of its own."""
        told = {key: str(value) for key, value in parameters.items()}
        self._failed.append(reader.failure(told, {"error": error[:4000]}, part.cell, part.repeat))
        client, parent = self.connection.store.client, self._known["experiment_id"]
        ended = (
            f"tags.`mlflow.parentRunId` = '{self.study}' and tags.cell = '{part.cell}' and "
            f"tags.repeat = '{part.repeat}' and attributes.status = 'FAILED'"
        )
        begun = (part.cell, part.repeat) in self.connection.begun
        if begun or self.connection.ask(
            lambda: client.search_runs([parent], ended, max_results=1), None
        ):
            return
        self.connection.begun.add((part.cell, part.repeat))
        out = Outbox(self.connection, self.out.folder, part.name, part.tags())
        out.batch(params=told, tags={"error": error[:4000]})
        out.end("FAILED")
        out.close()

    def baselines(self, run_ids: Sequence[str]) -> None:
        """Record which runs from elsewhere in the store the study is measured against."""
        self._measured_against.update(run_ids)
        self.out.batch(tags={"baselines": ",".join(sorted(self._measured_against))})

    def looked(self) -> None:
        """Count a report on new runs: each is one more chance to claim by chance."""
        self._looks += 1
        self._known["looks"] = self._looks
        self.out.batch(tags={"looks": str(self._looks)})

    def finish(self, status: str, seconds: float) -> None:
        """End the run; ``seconds`` are what this sitting of the study took."""
        wall = self._wall_before + seconds
        self._known["wall_s"] = round(wall, 1)
        self._known["finished"] = reader.iso(now_ms()) if status == "FINISHED" else None
        self.out.batch(tags={"wall_s": f"{wall:.1f}"})
        self.out.end(status)
        self.leave()
        self.out.flush()

    def close(self) -> None:
        """Send the last calls, and what was kept if the server answers again."""
        self.out.close()
        self.connection.catch_up()

    def load(self) -> dict[str, Any]:
        """The study as :func:`distlab.tracking.reader.load` gives it, now."""
        self.out.flush()
        client = self.connection.store.client
        found = self.connection.ask(lambda: reader.gather(client, client.get_run(self.study)), None)
        self._known = found or self._known
        return reader.with_runs(self._known, self._ran, self._failed)


def page(options: TrackingOptions, folder: Path, study: str, say: Callable[[str], None]) -> Outbox:
    """The page of a study that has ended, which keeps nothing that the store doesn't take."""
    store = open_store(options, folder, make=False)
    return Outbox(Connection(store, None, say), None, "", {}, study)


def log_report(
    data: dict[str, Any],
    folder: Path,
    description: str,
    out: Outbox,
    figures: Sequence[tuple[str, float, int]] = (),
) -> None:
    """Put a study's report and figures on the page of its MLflow run, and add its views.

    Parameters
    ----------
    data:
        The study as :func:`distlab.tracking.reader.load` gives it.
    folder:
        The report's folder; becomes the artifact folder ``report``.
    description:
        Markdown for the top of the page.
    out:
        Where calls for the study's run go.
    figures:
        Metrics of the study: (name, value, number of workers, which becomes the step) each. Those
        whose names differ after the last slash only belong on one chart, but for :data:`BOUNDS`.
    """
    path = calls.relative(folder, out.folder)
    out.put({"call": "file", "run": out.run_id, "path": path, "to": "report"})
    out.batch(metrics=figures, tags={"mlflow.note.content": description[:NOTE_LENGTH]})
    charts: dict[str, list[str]] = {}
    for name, _, _ in figures:
        metrics = charts.setdefault(name.rpartition("/")[0], [])
        if name not in metrics and not name.endswith(BOUNDS):
            metrics.append(name)
    tags = views.tags(out.run_id, data["name"], list(charts.values()))
    out.put({"call": "views", "run": out.run_id, "tags": tags})


def add_scaling(runs: Sequence[Mapping[str, Any]], out: Outbox) -> None:
    """Add speed-up and scaling efficiency to runs that have ended, and their baseline as a tag.

    Parameters
    ----------
    runs:
        Summaries; those that aren't measured against another run are left alone.
    out:
        Where calls go.
    """
    for run in runs:
        if run.get("baseline_run_id") in (None, run["mlflow"]["run_id"]):
            continue
        out.put(
            calls.batch(
                run["mlflow"]["run_id"],
                metrics=[(name, run[name], 0) for name in ("speedup", "scaling_efficiency")],
                tags={"baseline_run_id": run["baseline_run_id"]},
            )
        )
