"""One run of distlab as one MLflow run, written by the driver."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from distlab.errors import WorkerError, reason
from distlab.experiment.options import TrackingOptions
from distlab.masking import mask
from distlab.outcome import caveats
from distlab.outcome.evaluations.epoch import Epoch
from distlab.outcome.record import Record
from distlab.tracking import owner, predictor
from distlab.tracking.origin import job_tag, origin
from distlab.tracking.pages.description import description
from distlab.tracking.sending import calls
from distlab.tracking.sending.outbox import Connection, Outbox
from distlab.tracking.store import open_store

# Figures of the whole run, in the summary and as metrics. They are logged at step 0, which MLflow
# draws as bars; metrics by epoch have steps from 1.
RUN_METRICS = {
    "throughput": "throughput_samples_per_s",
    "final_test_accuracy": "final_test_accuracy",
    "time_to_accuracy_s": "time_to_accuracy_s",
    "startup_s": "startup_s",
    "compile_s": "compile_s",
    "wall_s": "wall_s",
    "peak_memory_bytes": "peak_memory_bytes",
    "peak_device_memory_bytes": "peak_device_memory_bytes",
    "communication_share": "communication_share",
    "communication_share_low": "communication_share_low",
    "communication_share_high": "communication_share_high",
    "model_flop_utilisation": "model_flop_utilisation",
    "energy_j_per_sample": "energy_j_per_sample",
    "other_cores": "other_cores",
}

TAGS = (
    "framework",
    "framework_version",
    "execution",
    "precision",
    "model",
    "data",
    "data_sha256",
    "comparison_key",
    "series",
    "device",
    "device_name",
    "world_size",
    "scaling",
    "run_seed",
    "group",
    "group_run",
    "weights_sha256",
    "samples_sha256",
)

CHECKPOINTS = "checkpoints"
"""The tag that says where a run's checkpoints are."""
NOT_RANKED = "not_ranked"
UNRANKED = (NOT_RANKED, "too_noisy")
"""Tags of runs that are ranked nowhere; the second, of runs before there were caveats."""


@dataclass(frozen=True)
class Part:
    """Which run of which study a run is.

    Attributes
    ----------
    study:
        The id of the study, which is that of its MLflow run.
    cell:
        Hash of the run's options; equal for its repeats.
    repeat:
        Which of the repeats it is, from 0.
    position:
        Which of the study's cells, in the order of its plan, from 0.
    name:
        What the run is called: its cell with what tells it from the others, and its repeat.
    """

    study: str
    cell: str
    repeat: int
    position: int = 0
    name: str = "run"

    def tags(self) -> dict[str, str]:
        """As tags of the run, the first of which makes MLflow show it below its study."""
        return {
            "mlflow.parentRunId": self.study,
            "study": self.study,
            "cell": self.cell,
            "repeat": str(self.repeat),
        }


class Tracker:
    """One MLflow run, from its start to its end; a context manager.

    Nothing in it waits for the store: see :mod:`distlab.tracking.sending.outbox`. Leaving the
    block ends the run: FINISHED if it was left in order, KILLED on Ctrl-C or another signal
    (``KeyboardInterrupt``), FAILED on any other exception.

    Parameters
    ----------
    options:
        What to record, and where.
    run_name:
        What MLflow calls the run.
    folder:
        Folder of the command, for the default store.
    part:
        Which run of a study it is.
    run_dir:
        The run's folder, which keeps what can't be sent; None to keep nothing.
    connection:
        The command's store; None opens it.
    run_id:
        A run to go on with; None makes one.

    Raises
    ------
    DistlabError
        From the constructor, if the store cannot be opened.
    """

    def __init__(
        self,
        options: TrackingOptions,
        run_name: str,
        folder: Path,
        part: Part | None = None,
        run_dir: Path | None = None,
        connection: Connection | None = None,
        run_id: str | None = None,
    ) -> None:
        connection = connection or Connection(open_store(options, folder), run_dir)
        self.uri, self.experiment = mask(connection.store.uri), connection.store.experiment
        self._options = options
        if part is not None:
            connection.begun.add((part.cell, part.repeat))
        tags = {**owner.tags(), **(part.tags() if part else {})}
        self._out = Outbox(connection, run_dir, run_name, tags, run_id)
        self.run_id = self._out.run_id
        goes_on = run_id is not None
        if goes_on and job_tag():
            self._out.batch(tags=job_tag())
        self._monitor = _SystemMetrics(self._out, goes_on) if options.system_metrics else None

    def __enter__(self) -> "Tracker":
        if self._monitor is not None:
            self._monitor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            status = "FINISHED"
        elif issubclass(kind, KeyboardInterrupt | SystemExit):
            status = "KILLED"
        else:
            status = "FAILED"
            log = {"log": error.log} if isinstance(error, WorkerError) else {}
            self._out.batch(tags={"error": reason(error)[:4000], **log})
        if self._monitor is not None:
            self._monitor.finish()
        self._out.end(status)
        self._out.close()

    def begin(self, record: Record, parameters: Mapping[str, Any], command: str) -> None:
        """Log the config as parameters, the data set as input, and the origin as tags."""
        options, dataset = record.experiment.options, record.dataset
        tags = {**origin(), "command": command, "framework": options.framework.name}
        self._out.batch(params=parameters, tags=tags)
        self._out.put(
            {
                "call": "data",
                "run": self.run_id,
                "name": dataset.name,
                "digest": dataset.checksum[:36],
                "source": json.dumps({"source": dataset.source}),
            }
        )

    def checkpoints(self, address: str) -> None:
        """Note where the run's checkpoints are."""
        self._out.batch(tags={CHECKPOINTS: address})

    def epoch(self, epoch: Epoch, first_step: int = 0) -> None:
        """Log one epoch's metrics in one batch; the step is the epoch's number, from 1.

        Parameters
        ----------
        epoch:
            The epoch.
        first_step:
            Optimizer steps before it.
        """
        metrics = {
            "train_loss": epoch.train_loss,
            "test_loss": epoch.test_loss,
            "test_accuracy": epoch.told_accuracy,
            "epoch_time_s": epoch.seconds,
            "throughput_samples_per_s": epoch.throughput,
            **{
                f"step_time_{name}_ms": value
                for name in ("mean", "p50", "p95", "p99")
                if (value := epoch.step_time_ms[name]) is not None
            },
        }
        step = epoch.index + 1
        # Evaluations inside epochs are by optimizer step.
        inside = [
            (name, value, first_step + point.step)
            for point in (epoch.points if epoch.inner else [])
            for name, value in (
                ("test_loss_by_step", point.test_loss),
                ("test_accuracy_by_step", point.test_accuracy if epoch.learnable else None),
            )
        ]
        told = [*((name, value, step) for name, value in metrics.items()), *inside]
        self._out.batch(metrics=[one for one in told if one[1] is not None])

    def finish(self, summary: dict[str, Any]) -> None:
        """Log the figures of the whole run, the first losses, tags and a description."""
        load = summary["load"] or {}
        figures = {
            **summary,
            "final_test_accuracy": summary["test_accuracy"][-1],
            "other_cores": load.get("other_cores"),
        }
        metrics = {name: figures[key] for name, key in RUN_METRICS.items()}
        losses = enumerate(summary["first_losses"], 1)
        failed = [name for name, check in summary["checks"].items() if not check["passed"]]
        self._out.batch(
            metrics=[
                *((name, value, 0) for name, value in metrics.items() if value is not None),
                *(("first_losses", loss, step) for step, loss in losses if loss is not None),
            ],
            tags={
                **{name: str(summary[name]) for name in TAGS},
                "verified": str(summary["verified"]).lower(),
                **_caveat_tags(summary),
                **({"failed_checks": ",".join(failed)} if failed else {}),
                "mlflow.note.content": description(summary, failed),
            },
        )

    def summary(self, text: str) -> bool:
        """Upload ``summary.json`` where no disk keeps it; whether MLflow has all of the run."""
        self._out.text(text, "summary.json")
        return self._out.flush()

    def artifacts(self, *paths: Path) -> None:
        """Upload files and folders of the run's output; those that are missing are left out."""
        self._out.put(*calls.files(self.run_id, self._out.folder, paths))

    def model(self, record: Record, folder: Path) -> None:
        """Log the trained model as a framework-neutral pyfunc model: ``runs:/RUN_ID/model``."""
        if record.final_weights is None or not self._options.log_model:
            return
        target = folder / "model"
        try:
            predictor.save(target, record.experiment.spec, record.final_weights)
        except OSError as error:
            self._out.connection.refused(error, kept=False)
            return
        path = calls.relative(target, self._out.folder)
        step = len(record.epochs)
        self._out.put({"call": "model", "run": self.run_id, "path": path, "step": step})


class _SystemMetrics(SystemMetricsMonitor):  # type: ignore[misc]
    """MLflow's monitor of the driver's machine, which writes where the run writes."""

    def __init__(self, out: Outbox, goes_on: bool) -> None:
        uri = out.connection.store.uri
        super().__init__(out.run_id, 2, resume_logging=goes_on, tracking_uri=uri)
        self._out = out

    def monitor(self) -> None:
        """Measure until the end; MLflow's own loop asks the server each time if the run goes on."""
        while not self._shutdown_event.is_set():
            self.collect_metrics()
            if not self._shutdown_event.wait(self.sampling_interval):
                self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log what was measured since the last time."""
        step = self._logging_step
        self._out.batch(
            metrics=[(f"system/{name}", value, step) for name, value in metrics.items()]
        )
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()


def _caveat_tags(summary: Mapping[str, Any]) -> dict[str, str]:
    """The codes of a run's caveats, and what keeps it out of rankings; nothing without any."""
    found, doubts = caveats.of(summary), caveats.doubts(summary)
    return {
        **({"caveats": ",".join(caveats.codes(found))} if found else {}),
        **({NOT_RANKED: caveats.told(doubts)[:4000]} if doubts else {}),
    }
