"""One run, from options to a record: Ray, the data, the tracker, the workers, the checks."""

import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from omegaconf import OmegaConf

from distlab import cluster, environment
from distlab.config import Experiment
from distlab.data import sources
from distlab.data.order import epoch_order
from distlab.events import Progress, Started
from distlab.options import ClusterMode, Device, Options, flat
from distlab.progress import Display
from distlab.record import Record

if TYPE_CHECKING:
    from distlab.tracking import Tracker


def execute(
    options: Options, run_dir: Path, command_time: float, display: Display
) -> dict[str, Any]:
    """Run one experiment and record it in ``run_dir`` and in MLflow.

    Parameters
    ----------
    options:
        The validated options.
    run_dir:
        Where ``summary.json``, ``config.yaml``, ``environment.json`` and the logs go.
    command_time:
        When the command was given, in seconds since 1970; start-up counts from there.
    display:
        The terminal.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.

    Raises
    ------
    distlab.errors.DistlabError
        For a user's mistake.
    distlab.job.WorkerError
        If a worker failed; the run is recorded as FAILED.
    """
    with ThreadPoolExecutor(1) as pool:
        store = pool.submit(_prepare_tracking, options)
        display.waiting("starting Ray")
        experiment = cluster.place(options, cluster.connect(options))
        ray_up = time.time() - command_time
        display.waiting("loading the data")
        dataset = sources.load(options.data.name, options.data.dir, progress=display.live)
        _check_batch(experiment, dataset)
        record = Record(experiment, dataset, command_time, startup={"ray": ray_up})
        record.mark("data")
        store.result()
        with _open_tracker(experiment) as tracker:
            record.mark("tracker")
            summary = _tracked(experiment, record, tracker, run_dir, display)
    return summary


def _check_batch(experiment: Experiment, dataset: sources.Dataset) -> None:
    """Refuse a batch larger than the training set before anything is started."""
    seed, samples = experiment.options.seed, len(dataset.train_labels)
    epoch_order(seed, 0, samples, experiment.global_batch)


def _prepare_tracking(options: Options) -> None:
    """Import MLflow and open its store, which takes as long as starting Ray does."""
    from distlab import tracking

    tracking.prepare(options.tracking, Path.cwd())


def _open_tracker(experiment: Experiment) -> "Tracker":
    """Start the MLflow run."""
    from distlab import tracking

    framework, model = experiment.options.framework.name, experiment.options.model.name
    name = f"{framework}-{model}-{experiment.world_size}{experiment.device}"
    return tracking.Tracker(experiment.options.tracking, name, Path.cwd())


def _tracked(
    experiment: Experiment, record: Record, tracker: "Tracker", run_dir: Path, display: Display
) -> dict[str, Any]:
    """The part of a run that MLflow knows of."""
    from distlab import checks, job

    options, dataset = experiment.options, record.dataset
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = {
        **flat(options),
        "device": experiment.device,
        "gpus": experiment.world_size,
        "execution": experiment.execution,
    }
    tracker.begin(record, resolved, shlex.join(["python", "-m", "distlab.launch", *sys.argv[1:]]))
    config_file = run_dir / "config.yaml"
    config_file.write_text(OmegaConf.to_yaml(OmegaConf.create(_plain(asdict(options)))))
    environment_file = _write_json(run_dir / "environment.json", environment.describe())
    display.say(_announcement(experiment, dataset))
    display.say(f"logs: {run_dir / 'logs'}")
    display.waiting("starting workers")
    try:
        train, test = dataset.normalized()
        for event in job.run(experiment, job.share(train, test), run_dir, display.live):
            if isinstance(event, Progress):
                display.position(event)
                continue
            ready = len(record.ready)
            epoch = record.add(event)
            if ready < len(record.ready) == experiment.world_size:
                steps = len(dataset.train_labels) // experiment.global_batch
                display.begin(options.epochs, steps, experiment.global_batch)
            if epoch is not None:
                display.epoch(epoch)
                tracker.epoch(epoch)
        display.waiting("checking")
        results = checks.run_all(record)
        summary = {
            **record.summary(),
            "verified": all(check.passed for check in results.values()),
            "checks": {name: asdict(check) for name, check in results.items()},
            "mlflow": {
                "tracking_uri": tracker.uri,
                "experiment": tracker.experiment,
                "run_id": tracker.run_id,
            },
        }
        tracker.finish(summary)
        tracker.model(record, run_dir)
        _write_json(run_dir / "summary.json", summary)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop_workers(record.started.values())
        raise
    finally:
        display.close()
        shutil.rmtree(run_dir / "ray", ignore_errors=True)
        tracker.artifacts(config_file, environment_file, run_dir / "summary.json", run_dir / "logs")
    return summary


def _write_json(path: Path, value: Any) -> Path:
    """Write a JSON file for people: indented, keys in their order."""
    path.write_text(json.dumps(value, indent=2) + "\n")
    return path


def stop_workers(workers: Any) -> None:
    """Kill the workers of this machine at once; Ray ends those of other machines.

    SIGKILL, because TensorFlow's workers ignore SIGTERM.
    """
    here = socket.gethostname()
    for worker in workers:
        assert isinstance(worker, Started)
        if worker.host == here and psutil.pid_exists(worker.pid):
            os.kill(worker.pid, signal.SIGKILL)


def _announcement(experiment: Experiment, dataset: sources.Dataset) -> str:
    """One line on what is going to run and where."""
    options = experiment.options
    plural = "s" * (experiment.world_size > 1)
    where = "CPU" if experiment.device == "cpu" else "GPU"
    line = (
        f"{options.framework.name} ({experiment.execution}) trains {options.model.name} on "
        f"{options.data.name}, {options.epochs} epochs, on {experiment.world_size} {where} "
        f"worker{plural}, global batch {experiment.global_batch}"
    )
    asked = options.device is Device.auto and options.gpus is None
    cores = os.cpu_count() or 1
    if asked:
        line += f" (gpus not given: {'all GPUs' if where == 'GPU' else 'no GPU found'})"
    local = options.cluster.mode is ClusterMode.local
    if local and experiment.world_size * options.threads_per_worker > cores:
        line += f"; more threads than this machine's {cores} cores: not a fair timing"
    return line


def _plain(value: Any) -> Any:
    """Enum members as their values, so that YAML shows them as users write them."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, str) else value
