"""The writer of a study: the parent MLflow run of its runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from distlab.experiment.options import TrackingOptions
from distlab.outcome import environment
from distlab.tracking import reader, views
from distlab.tracking.reader import ENVIRONMENT, KIND, PLAN, STUDY
from distlab.tracking.run_writer import Part
from distlab.tracking.store import default_uri, now_ms, origin, prepare

# MLflow cuts a longer description off without a word.
NOTE_LENGTH = 8000
BOUNDS = ("_low", "_high")
"""Ends of the names of metrics that are the ends of another one's interval."""


class StudyTracker:
    """The MLflow run of a study, begun or taken up again.

    Attributes
    ----------
    study:
        The id of the study.
    """

    def __init__(self, client: MlflowClient, study_id: str) -> None:
        self._client, self.study = client, study_id
        run = client.get_run(study_id)
        self._experiment_id = run.info.experiment_id
        self._wall_before = float(run.data.tags.get("wall_s", 0.0))

    @classmethod
    def begin(
        cls,
        options: TrackingOptions,
        folder: Path,
        name: str,
        plan: Sequence[Mapping[str, Any]],
        tags: Mapping[str, str],
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
        """
        client, experiment_id = prepare(options, folder)
        own = {KIND: STUDY, **origin(), **tags}
        run = client.create_run(experiment_id, tags=own, run_name=name)
        client.log_dict(run.info.run_id, environment.describe(), ENVIRONMENT)
        tracker = cls(client, run.info.run_id)
        tracker.record_plan(plan)
        return tracker

    @classmethod
    def resume(cls, options: TrackingOptions, folder: Path, study_id: str) -> "StudyTracker":
        """Take a study up again.

        Runs that were broken off with the command (RUNNING) become KILLED.

        Raises
        ------
        DistlabError
            If the store has no such study.
        """
        client, experiment_id = prepare(options, folder)
        run = reader.find(client, experiment_id, study_id, options.uri or default_uri(folder))
        client.update_run(run.info.run_id, status="RUNNING")
        for child in reader.children(client, run):
            if child.info.status == "RUNNING":
                client.set_terminated(child.info.run_id, "KILLED")
        return cls(client, run.info.run_id)

    def plan(self) -> list[dict[str, Any]]:
        """The cells as they were recorded."""
        return list(reader.read(self._client, self.study, PLAN)["cells"])

    def data(self) -> dict[str, set[str]]:
        """For the key of each cell the checksums of the data that its finished runs had."""
        found: dict[str, set[str]] = {}
        for child in reader.children(self._client, self._client.get_run(self.study)):
            tags = child.data.tags
            if child.info.status == "FINISHED" and "data_sha256" in tags:
                found.setdefault(tags.get("cell", ""), set()).add(tags["data_sha256"])
        return found

    def record_plan(self, plan: Sequence[Mapping[str, Any]]) -> None:
        """Record the cells, in place of those recorded before."""
        self._client.log_dict(self.study, {"cells": list(plan)}, PLAN)

    def failed(self, part: Part, parameters: Mapping[str, Any], error: str) -> None:
        """Record a run that failed before it had an MLflow run of its own."""
        where = f"tags.cell = '{part.cell}' and tags.repeat = '{part.repeat}'"
        parent = f"tags.`mlflow.parentRunId` = '{self.study}' and {where}"
        ended = f"{parent} and attributes.status = 'FAILED'"
        if self._client.search_runs([self._experiment_id], ended, max_results=1):
            return
        run = self._client.create_run(self._experiment_id, tags=part.tags(), run_name=part.name)
        self._client.log_batch(
            run.info.run_id,
            params=[Param(key, str(value)) for key, value in parameters.items()],
            tags=[RunTag("error", error[:4000])],
        )
        self._client.set_terminated(run.info.run_id, "FAILED")

    def baselines(self, run_ids: Sequence[str]) -> None:
        """Record which runs from elsewhere in the store the study is measured against."""
        known = self._client.get_run(self.study).data.tags.get("baselines", "").split(",")
        both = sorted({*filter(None, known), *run_ids})
        self._client.set_tag(self.study, "baselines", ",".join(both))

    def looked(self) -> None:
        """Count a report on new runs: each is one more chance to claim by chance."""
        looks = int(self._client.get_run(self.study).data.tags.get("looks", 0))
        self._client.set_tag(self.study, "looks", str(looks + 1))

    def finish(self, status: str, seconds: float) -> None:
        """End the run; ``seconds`` are what this sitting of the study took."""
        wall = self._wall_before + seconds
        self._client.set_tag(self.study, "wall_s", f"{wall:.1f}")
        self._client.set_terminated(self.study, status)

    def load(self) -> dict[str, Any]:
        """The study as :func:`distlab.tracking.reader.load` gives it, now."""
        return reader.gather(self._client, self._client.get_run(self.study))


def log_report(
    data: dict[str, Any],
    folder: Path,
    description: str,
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
    figures:
        Metrics of the study: (name, value, number of workers, which becomes the step) each. Those
        whose names differ after the last slash only belong on one chart, but for :data:`BOUNDS`.
    """
    client, now = MlflowClient(data["tracking_uri"]), now_ms()
    run_id = data["study"]
    client.log_artifacts(run_id, str(folder), "report")
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, step) for name, value, step in figures],
        tags=[RunTag("mlflow.note.content", description[:NOTE_LENGTH])],
    )
    charts: dict[str, list[str]] = {}
    for name, _, _ in figures:
        metrics = charts.setdefault(name.rpartition("/")[0], [])
        if name not in metrics and not name.endswith(BOUNDS):
            metrics.append(name)
    views.add(client, data["experiment_id"], run_id, data["name"], list(charts.values()))


def add_scaling(runs: Sequence[Mapping[str, Any]]) -> None:
    """Add speed-up and scaling efficiency to runs that have ended, and their baseline as a tag.

    Parameters
    ----------
    runs:
        Summaries; those that aren't measured against another run are left alone.
    """
    now = now_ms()
    for run in runs:
        if run.get("baseline_run_id") in (None, run["mlflow"]["run_id"]):
            continue
        MlflowClient(run["mlflow"]["tracking_uri"]).log_batch(
            run["mlflow"]["run_id"],
            metrics=[Metric(name, run[name], now, 0) for name in ("speedup", "scaling_efficiency")],
            tags=[RunTag("baseline_run_id", run["baseline_run_id"])],
        )
