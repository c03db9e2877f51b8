"""MLflow: the only writer of runs. One run of distlab is one MLflow run, written by the driver."""

import contextlib
import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sqlalchemy.exc import SQLAlchemyError

from distlab import __version__, environment
from distlab.errors import DistlabError
from distlab.models import predictor
from distlab.options import TrackingOptions
from distlab.record import Epoch, Record

STORE = "mlruns"

# Tells the MLflow UI to open the experiment as model training and not as one of language models.
EXPERIMENT_KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"

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
}

TAGS = (
    "framework",
    "framework_version",
    "execution",
    "model",
    "data",
    "data_sha256",
    "comparison_key",
    "device",
    "device_name",
    "world_size",
    "scaling",
    "weights_sha256",
    "samples_sha256",
)


def default_uri(folder: Path) -> str:
    """SQLite below ``folder``: ``mlruns/mlflow.db``."""
    return f"sqlite:///{(folder / STORE / 'mlflow.db').resolve()}"


def prepare(options: TrackingOptions, folder: Path) -> tuple[MlflowClient, str]:
    """Open the store and find or create the experiment; fast when called again.

    Parameters
    ----------
    options:
        Where to record, and under which experiment.
    folder:
        Folder of the command, for the default store.

    Returns
    -------
    tuple
        The client and the experiment's id.

    Raises
    ------
    DistlabError
        If the store cannot be opened.
    """
    for noisy in ("mlflow", "alembic"):
        logger = logging.getLogger(noisy)
        logger.setLevel(logging.WARNING)
        # To the run's driver.log with everything else, not to the terminal.
        logger.handlers.clear()
        logger.propagate = True
    uri = options.uri or default_uri(folder)
    artifacts = None
    try:
        store = None
        if uri.startswith("sqlite:///"):
            store = Path(uri.removeprefix("sqlite:///")).parent
            store.mkdir(parents=True, exist_ok=True)
            artifacts = (store / "artifacts").resolve().as_uri()
        mlflow.set_tracking_uri(uri)
        with _alone(store):
            client = MlflowClient(uri)
        return client, _experiment_id(client, options.experiment, artifacts)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        raise DistlabError(
            f"to record runs in tracking.uri={uri}",
            str(error).strip().splitlines()[0],
            "check that the folder or server is there and may be written, "
            "or choose another: tracking.uri=sqlite:////path/to/mlflow.db",
        ) from error


def _experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Find or create the experiment; another process may create it at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts, {EXPERIMENT_KIND: TRAINING}))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


class Tracker:
    """One MLflow run, from its start to its end; a context manager.

    Leaving the block ends the run: FINISHED if it was left in order, KILLED on Ctrl-C or SIGTERM
    (``KeyboardInterrupt``), FAILED on any other exception.

    Raises
    ------
    DistlabError
        From the constructor, if the store cannot be opened.
    """

    def __init__(self, options: TrackingOptions, run_name: str, folder: Path) -> None:
        self.uri = options.uri or default_uri(folder)
        self.experiment = options.experiment
        self._options = options
        self._client, self._experiment_id = prepare(options, folder)
        run = self._client.create_run(self._experiment_id, run_name=run_name)
        self.run_id: str = run.info.run_id
        self._monitor = (
            SystemMetricsMonitor(self.run_id, sampling_interval=2)
            if options.system_metrics
            else None
        )

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
            self._client.set_tag(self.run_id, "error", str(error)[:4000])
        if self._monitor is not None:
            self._monitor.finish()
        self._client.set_terminated(self.run_id, status)

    def begin(self, record: Record, parameters: Mapping[str, Any], command: str) -> None:
        """Log the config as parameters, the data set as input, and the origin as tags."""
        options, dataset = record.experiment.options, record.dataset
        commit = environment.git_commit()
        tags = {
            "mlflow.user": environment.user(),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": "distlab.launch",
            "command": command,
            "distlab_version": __version__,
            "framework": options.framework.name,
            **({"mlflow.source.git.commit": commit} if commit else {}),
        }
        self._client.log_batch(
            self.run_id,
            params=[Param(name, str(value)) for name, value in parameters.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        source = json.dumps({"source": dataset.source})
        data = Dataset(dataset.name, dataset.checksum[:36], "local", source)
        self._client.log_inputs(self.run_id, [DatasetInput(data)])

    def epoch(self, epoch: Epoch) -> None:
        """Log one epoch's metrics in one batch; the step is the epoch's number, from 1."""
        metrics = {
            "train_loss": epoch.train_loss,
            "test_loss": epoch.test_loss,
            "test_accuracy": epoch.test_accuracy,
            "epoch_time_s": epoch.seconds,
            "throughput_samples_per_s": epoch.throughput,
            **{f"step_time_{name}_ms": value for name, value in epoch.step_time_ms.items()},
        }
        self._log(metrics, epoch.index + 1)

    def finish(self, summary: dict[str, Any]) -> None:
        """Log the figures of the whole run, the first losses, tags and a description."""
        figures = {**summary, "final_test_accuracy": summary["test_accuracy"][-1]}
        metrics = {name: figures[key] for name, key in RUN_METRICS.items()}
        self._log({name: value for name, value in metrics.items() if value is not None}, 0)
        losses = [
            Metric("first_losses", loss, _now_ms(), step)
            for step, loss in enumerate(summary["first_losses"], 1)
        ]
        failed = [name for name, check in summary["checks"].items() if not check["passed"]]
        tags = {
            **{name: str(summary[name]) for name in TAGS},
            "verified": str(summary["verified"]).lower(),
            **({"failed_checks": ",".join(failed)} if failed else {}),
            "mlflow.note.content": _description(summary),
        }
        self._client.log_batch(
            self.run_id,
            metrics=losses,
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def artifacts(self, *paths: Path) -> None:
        """Upload files and folders of the run's output; those that are missing are left out."""
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), path.name)
            elif path.exists():
                self._client.log_artifact(self.run_id, str(path))

    def model(self, record: Record, folder: Path) -> None:
        """Log the trained model as a framework-neutral pyfunc model: ``runs:/RUN_ID/model``."""
        if record.final_weights is None or not self._options.log_model:
            return
        target = folder / "model"
        predictor.save(target, record.experiment.spec, record.final_weights)
        model = self._client.create_logged_model(
            self._experiment_id, name="model", source_run_id=self.run_id
        )
        self._client.log_model_artifacts(model.model_id, str(target))
        self._client.finalize_logged_model(model.model_id, "READY")
        output = LoggedModelOutput(model.model_id, record.experiment.options.epochs)
        self._client.log_outputs(self.run_id, [output])
        shutil.rmtree(target)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log several metrics of one step at once."""
        now = _now_ms()
        self._client.log_batch(
            self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()]
        )


def add_scaling(
    where: Mapping[str, str], figures: Mapping[str, float], baseline_run_id: str
) -> None:
    """Add figures that are known only once the baseline has run to a run that has ended.

    Parameters
    ----------
    where:
        The section ``mlflow`` of the run's summary.
    figures:
        Metrics of the whole run by name.
    baseline_run_id:
        The run that they are measured against, for the tag of that name.
    """
    now = _now_ms()
    MlflowClient(where["tracking_uri"]).log_batch(
        where["run_id"],
        metrics=[Metric(name, value, now, 0) for name, value in figures.items()],
        tags=[RunTag("baseline_run_id", baseline_run_id)],
    )


@contextlib.contextmanager
def _alone(store: Path | None) -> Iterator[None]:
    """Keep other processes from creating MLflow's tables in ``store`` during the block."""
    if store is None:
        yield
        return
    with (store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _description(summary: dict[str, Any]) -> str:
    """The run in a few lines of Markdown, for the top of its page."""
    failed = [name for name, check in summary["checks"].items() if not check["passed"]]
    verdict = (
        f"**Not verified**: {', '.join(failed)}." if failed else "Verified: all checks passed."
    )
    reached = summary["time_to_accuracy_s"]
    target = f"{summary['target_accuracy']:.1%}"
    return (
        f"**{summary['framework']} {summary['framework_version']}** ({summary['execution']}) "
        f"trained {summary['model']} on {summary['data']} for {summary['epochs']} epochs on "
        f"{summary['world_size']} {summary['device']} worker(s), {summary['device_name']}, "
        f"{summary['threads_per_worker']} thread(s) each, global batch "
        f"{summary['global_batch_size']} ({summary['scaling']} scaling).\n\n"
        "| throughput | test accuracy | time to accuracy | start-up |\n|---|---|---|---|\n"
        f"| {summary['throughput_samples_per_s']:,.0f} samples/s "
        f"| {summary['test_accuracy'][-1]:.2%} "
        f"| {f'{reached:.2f} s to {target}' if reached is not None else f'{target} not reached'} "
        f"| {summary['startup_s']:.1f} s |\n\n{verdict}"
    )


def _now_ms() -> int:
    """MLflow's timestamps: milliseconds since 1970."""
    return int(time.time() * 1000)
