"""MLflow: the only writer of runs. One run of distlab is one MLflow run, written by the driver."""

import contextlib
import fcntl
import json
import logging
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from types import TracebackType
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sqlalchemy.exc import SQLAlchemyError

from distlab import __version__
from distlab.checks import Check
from distlab.config import TrackingOptions
from distlab.errors import DistlabError
from distlab.models import predictor
from distlab.record import Epoch, Record

STORE = "mlruns"

# Summary entries that are figures of the whole run, logged as metrics under these names.
RUN_METRICS = {
    "throughput_samples_per_s": "throughput_samples_per_s",
    "time_to_accuracy_s": "time_to_accuracy_s",
    "startup_s": "startup_s",
    "compile_s": "compile_s",
    "wall_s": "wall_s",
    "peak_memory_bytes": "peak_memory_bytes",
    "parameters": "parameters",
}

TAGS = (
    "framework",
    "framework_version",
    "execution",
    "model",
    "data",
    "data_sha256",
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
        logging.getLogger(noisy).setLevel(logging.WARNING)
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
            return str(client.create_experiment(name, artifacts))
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
        self._client, experiment_id = prepare(options, folder)
        run = self._client.create_run(experiment_id, run_name=run_name)
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

    def parameters(self, values: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Log the config as parameters, and what is known before the first step as tags."""
        self._client.log_batch(
            self.run_id,
            params=[Param(name, str(value)) for name, value in values.items()],
            tags=[RunTag(name, str(value)) for name, value in {**_origin(), **tags}.items()],
        )

    def epoch(self, epoch: Epoch) -> None:
        """Log one epoch's metrics in one batch; the step is the epoch's number, from 1."""
        metrics = {
            "train_loss": epoch.train_loss,
            "test_loss": epoch.test_loss,
            "test_accuracy": epoch.test_accuracy,
            "epoch_time_s": epoch.seconds,
            "epoch_throughput_samples_per_s": epoch.throughput,
            **{f"step_time_{name}_ms": value for name, value in epoch.step_time_ms.items()},
        }
        self._log(metrics, epoch.index + 1)

    def finish(self, record: Record, summary: dict[str, Any], checks: Mapping[str, Check]) -> None:
        """Log the run's figures, tags and model; the summary and the rest are in the run folder."""
        metrics = {
            name: float(summary[key])
            for key, name in RUN_METRICS.items()
            if summary[key] is not None
        }
        self._log(metrics, record.experiment.options.epochs)
        losses = [
            Metric("first_losses", loss, _now_ms(), step)
            for step, loss in enumerate(summary["first_losses"], 1)
        ]
        tags = {name: summary[name] for name in TAGS} | {
            "verified": summary["verified"],
            "failed_checks": ",".join(n for n, check in checks.items() if not check.passed),
        }
        self._client.log_batch(
            self.run_id,
            metrics=losses,
            tags=[RunTag(name, str(value)) for name, value in tags.items()],
        )

    def artifacts(self, *paths: Path) -> None:
        """Upload files and folders of the run's output; those that are missing are left out."""
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), path.name)
            elif path.exists():
                self._client.log_artifact(self.run_id, str(path))

    def model(self, record: Record, folder: Path) -> None:
        """Log the trained model as a framework-neutral pyfunc model, in the artifact ``model``."""
        if record.final_weights is not None and self._options.log_model:
            target = folder / "model"
            predictor.save(target, record.experiment.spec, record.final_weights)
            self._client.log_artifacts(self.run_id, str(target), "model")
            shutil.rmtree(target)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log several metrics of one step at once."""
        now = _now_ms()
        self._client.log_batch(
            self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()]
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


def environment() -> dict[str, Any]:
    """The driver's machine and packages, for the artifact ``environment.json``."""
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": dict(sorted((d.metadata["Name"].lower(), d.version) for d in distributions())),
    }


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file for people: indented, keys in their order."""
    path.write_text(json.dumps(value, indent=2, default=str) + "\n")
    return path


def _processor() -> str:
    """The CPU's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


def _origin() -> dict[str, str]:
    """Version of distlab and, in a checkout, its git commit."""
    here = Path(__file__).parent
    found = (
        subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("git")
        else None
    )
    commit = found.stdout.strip() if found is not None and found.returncode == 0 else ""
    return {"distlab_version": __version__, **({"git_commit": commit} if commit else {})}


def _now_ms() -> int:
    """MLflow's timestamps: milliseconds since 1970."""
    return int(time.time() * 1000)
