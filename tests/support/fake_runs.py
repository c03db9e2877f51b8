"""Runs of a study that are recorded in a real store but train nothing."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import studies
from mlflow import MlflowClient
from mlflow.entities import Param, Run

from distlab.data import dataset, sources
from distlab.experiment.names import made_of
from distlab.experiment.options import Options, flat
from distlab.outcome import schema
from distlab.runs import study
from distlab.tracking.run_writer import Part, Tracker

Name = tuple[str, int, int]
load_once = cache(sources.load)
"""As it is, but for tests that make many studies of the same data."""


class Workers:
    """Stands for the worker processes of a session; notes when they are to be renewed."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def renew(self) -> None:
        self._machine.renewals.append(len(self._machine.order))

    def __exit__(self, *_: object) -> None:
        pass


class Machine:
    """Stands in for :func:`distlab.runs.run.execute`.

    Attributes
    ----------
    order:
        The runs that were asked for: (framework, workers, repeat).
    troubles:
        For a run, what its tries raise, one after the other; then it succeeds.
    refusals:
        For a run, what is raised before it has an MLflow run.
    values:
        Overrides of every summary.
    renewals:
        How many runs had been asked for when worker processes were to be renewed.
    """

    def __init__(self) -> None:
        self.order: list[Name] = []
        self.troubles: dict[Name, list[BaseException]] = {}
        self.refusals: dict[Name, BaseException] = {}
        self.values: dict[str, Any] = {}
        self.renewals: list[int] = []

    def execute(
        self,
        options: Options,
        run_dir: Path,
        command_time: float,
        display: Any,
        session: Any,
        part: Part | None = None,
    ) -> dict[str, Any]:
        workers, repeat = options.gpus or 1, part.repeat if part else 0
        name = (options.framework.name, workers, repeat)
        self.order.append(name)
        session.jobs = Workers(self)
        if name in self.refusals:
            raise self.refusals[name]
        with Tracker(options.tracking, "a run", Path.cwd(), part) as tracker:
            client = MlflowClient(tracker.uri)
            told = {**flat(options), "execution": options.resolved_execution, "gpus": workers}
            parameters = [Param(key, str(value)) for key, value in told.items()]
            client.log_batch(tracker.run_id, params=parameters)
            if self.troubles.get(name):
                raise self.troubles[name].pop(0)
            summary = {**summarized(options, workers, repeat, part, tracker), **self.values}
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "summary.json").write_text(schema.written("summary.json", summary))
            tracker.finish(summary)
            tracker.artifacts(run_dir / "summary.json")
        return summary


def summarized(
    options: Options, workers: int, repeat: int, part: Part | None, tracker: Tracker
) -> dict[str, Any]:
    """What a run of the options would have for a summary; two workers are 1.5 times as fast."""
    (summary,) = studies.study(
        repeats=1,
        frameworks=[options.framework.name],
        world_sizes=[workers],
        scalings=[str(options.scaling)],
        models=[options.model.name],
        epochs=options.epochs,
        batch_size=options.batch_size,
        noise=0,
        precision=str(options.precision),
    )["runs"]
    # What only a study knows of its runs.
    for name in ("speedup", "scaling_efficiency", "baseline_run_id"):
        del summary[name]
    return {
        **summary,
        "execution": options.resolved_execution,
        "study": part.study if part else None,
        "cell": part.cell if part else None,
        "repeat": repeat,
        "position": part.position if part else None,
        "run_seed": options.seed + repeat,
        "data": dataset.called(dataset.MNIST5K_CHECKSUM),
        "data_sha256": dataset.MNIST5K_CHECKSUM,
        "options": made_of(options, "mnist5k"),
        "throughput_samples_per_s": 1000.0 * (1 + workers) / 2 + repeat,
        "mlflow": {
            "tracking_uri": tracker.uri,
            "experiment": tracker.experiment,
            "run_id": tracker.run_id,
        },
    }


def names(runs: Sequence[dict[str, Any]]) -> list[Name]:
    """(framework, workers, repeat) of summaries."""
    return [(run["framework"], run["world_size"], run["repeat"]) for run in runs]


def conduct(*planned: Options, folder: str = "study", **more: Any) -> dict[str, Any]:
    """Conduct a study; what is left in its folder."""
    more.setdefault("overrides", ["framework=torch"])
    try:
        study.conduct(planned, Path(folder), **more)
    finally:
        found = json.loads((Path(folder) / "study.json").read_text())
    return found


def parent(data: dict[str, Any]) -> Run:
    return MlflowClient(data["tracking_uri"]).get_run(data["study"])
