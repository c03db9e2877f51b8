"""One run, from options to a record: Ray, the data, the tracker, the workers, the checks."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from omegaconf import OmegaConf

from distlab import files
from distlab.checkpoints import files as checkpoints
from distlab.cluster import connect, worker_environment
from distlab.data import asked
from distlab.data.dataset import Dataset
from distlab.data.order import epoch_order
from distlab.environment import kept
from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.experiment import Experiment, engine, resolve
from distlab.experiment.options import (
    ClusterMode,
    Device,
    Engine,
    Options,
    flat,
    mlflow_variables,
)
from distlab.experiment.task import Task
from distlab.experiment.training import stopping
from distlab.masking import mask, masked
from distlab.outcome import environment
from distlab.outcome.events import Checkpoint, Event, Notice, Progress, Ready
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised
from distlab.runs.again import full_disk
from distlab.runs.again.keeping import Keeper
from distlab.runs.again.resume import Resumed, resumed
from distlab.runs.session import Session, connected
from distlab.runs.shown.announcement import announcement, where
from distlab.runs.shown.progress import Display
from distlab.tracking import store

if TYPE_CHECKING:
    from distlab.cluster.pool import Jobs
    from distlab.tracking.run_writer import Part, Tracker
    from distlab.tracking.sending.outbox import Connection


def execute(
    options: Options,
    run_dir: Path,
    command_time: float,
    display: Display,
    session: Session,
    part: "Part | None" = None,
    taken: Resumed | None = None,
) -> dict[str, Any]:
    """Run one experiment and record it in ``run_dir`` and in MLflow.

    Parameters
    ----------
    options:
        The validated options.
    run_dir:
        Where ``summary.json``, ``config.yaml``, ``environment.json`` and the logs go.
    command_time:
        When the run was asked for, in seconds since 1970; start-up counts from there.
    display:
        The terminal.
    session:
        What this run shares with others of the command.
    part:
        Which run of a study it is; None for a run by itself.
    taken:
        The run that goes on; None for a new one.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.

    Raises
    ------
    distlab.errors.DistlabError
        For a user's mistake.
    distlab.errors.WorkerError
        If a worker failed; the run is recorded as FAILED.
    """
    if options.checkpoint.dir is not None:
        checkpoints.check(options.checkpoint.dir)
    if session.connection is None:
        store.check(options.tracking, Path.cwd())
    if told := mlflow_variables(options.tracking):
        display.detail(f"as the environment says: {mask(told)}")
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(connected, options, run_dir, display, session)
        display.waiting("loading the data")
        begun = time.time()
        dataset = session.dataset(options.data, progress=display.live)
        data_s = time.time() - begun
        options = replace(options, data=asked.told(options.data, dataset.form))
        if options.cluster.mode is ClusterMode.local and options.device is Device.cpu:
            # Nothing that Ray knows is needed to see a mistake.
            _check_fits(resolve(options, gpus_present=0), dataset)
        if not store.is_local(options.tracking):
            opened.result()
        display.waiting("starting Ray")
        if unused := connect.unused_address(options):
            display.detail(unused)
        resources = connect.connect(options)
        options = replace(options, engine=engine(options, by_itself=part is None))
        if session.jobs is None:
            from distlab.cluster.pool import Jobs

            session.jobs = Jobs()
        experiment = connect.place(options, resources)
        for line in connect.strangers(experiment):
            display.once(line)
        if part is not None:
            experiment = replace(experiment, repeat=part.repeat)
        ray_s = time.time() - command_time - data_s
        _check_fits(experiment, dataset)
        if taken is not None:
            taken.check(dataset)
        startup = {"ray": ray_s, "data": data_s}
        record = Record(experiment, dataset, command_time, startup=startup, nodes=resources.nodes)
        if options.cluster.mode is ClusterMode.local:
            # The Ray of this command was started without them.
            record.kept_out = worker_environment.kept_out(os.environ, experiment)
        connection = opened.result()
        try:
            with _open_tracker(
                *(experiment, part, run_dir, connection, taken, display.say)
            ) as tracker:
                record.mark("tracker")
                summary = _tracked(record, tracker, run_dir, display, session.jobs, part, taken)
        finally:
            if part is None:
                connection.catch_up()
    return summary


def go_on(
    options: Options,
    run_dir: Path,
    command_time: float,
    display: Display,
    session: Session,
    overrides: Sequence[str],
) -> dict[str, Any]:
    """Go on with the run ``options.resume``; parameters and errors as those of :func:`execute`.

    What is not named in ``overrides`` is as the run has it.
    """
    store.check(options.tracking, Path.cwd(), make=False)
    connection = connected(options, run_dir, display, session)
    taken = resumed(options, overrides, connection.store, display.say)
    return execute(taken.options, run_dir, command_time, display, session, taken=taken)


def _check_fits(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse what cannot fit before anything is started: a batch in the data, a model in memory."""
    samples = len(dataset.train_labels)
    order = epoch_order(experiment.run_seed, 0, samples, experiment.global_batch)
    stopping.fits(experiment.options, len(order))
    parameters = experiment.spec.parameter_count
    workers = (
        1 if experiment.options.cluster.mode is ClusterMode.existing else experiment.world_size
    )
    least = workers * 2 * parameters * np.dtype(np.float32).itemsize  # weights and gradients
    has = psutil.virtual_memory().total
    if experiment.device == "cpu" and least > has:
        raise DistlabError(
            f"{experiment.spec.name}, with {parameters:,} parameters, on {workers} CPU worker(s)",
            f"weights and gradients alone take {least / 1e9:,.0f} GB, "
            f"this machine has {has / 1e9:,.0f} GB of memory",
            "fewer units or channels in model.layers, or another model: model=mlp",
        )


def _open_tracker(
    experiment: Experiment,
    part: "Part | None",
    run_dir: Path,
    connection: "Connection",
    taken: Resumed | None,
    say: Callable[[str], None],
) -> "Tracker":
    """Start the MLflow run, or go on with it."""
    from distlab.tracking.run_writer import Tracker

    framework, model = experiment.options.framework.name, experiment.options.model.name
    name = f"{framework}-{model}-{experiment.world_size}{experiment.device}"
    if part is not None:
        name = part.name
    if taken is not None:
        taken.take(connection.store, say)
    run_id = taken.run_id if taken else None
    return Tracker(experiment.options.tracking, name, Path.cwd(), part, run_dir, connection, run_id)


def _tracked(
    record: Record,
    tracker: "Tracker",
    run_dir: Path,
    display: Display,
    jobs: "Jobs",
    part: "Part | None",
    taken: Resumed | None,
) -> dict[str, Any]:
    """The part of a run that MLflow knows of."""
    from distlab.cluster import logs, restarts
    from distlab.cluster.train import run as train
    from distlab.fairness import checks
    from distlab.outcome import schema

    experiment, dataset = record.experiment, record.dataset
    options = experiment.options
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = {
        **flat(options),
        "device": experiment.device,
        "gpus": options.gpus if experiment.sizes else experiment.world_size,
        "execution": experiment.execution,
        "data": dataset.name,
    }
    if taken is None:
        tracker.begin(record, resolved, words.command())
    config_file = run_dir / "config.yaml"
    files.write(config_file, OmegaConf.to_yaml(OmegaConf.create(_plain(masked(asdict(options))))))
    environment_file = _write_json(run_dir / "environment.json", environment.describe())
    packages = run_dir / "packages.txt"
    display.detail(announcement(experiment, dataset))
    display.detail(f"logs: {run_dir / 'logs'}")
    display.waiting("starting workers")
    keeper = None
    try:
        if part is None and options.checkpoint.every:
            keeper = Keeper(record, run_dir, tracker, display.say, taken)
        lasting = (train if options.engine is Engine.train else restarts).lasting
        events = lasting(
            *(
                jobs,
                experiment,
                dataset,
                _task(experiment, dataset, display.live),
                run_dir / "logs",
            ),
            most=options.failures.max,
            start=keeper.start if keeper else None,
            failure=taken.ended if taken else None,
        )
        with closing(events):
            for event in events:
                _take(event, record, display, tracker, keeper)
                if isinstance(event, Ready) and event.packages:
                    files.write(packages, event.packages)
        display.waiting("checking")
        results = checks.run_all(record)
        summary = masked(
            {
                "schema_version": schema.VERSION,
                "study": part.study if part else None,
                "cell": part.cell if part else None,
                "position": part.position if part else None,
                **summarised(record),
                "verified": all(check.passed for check in results.values()),
                "checks": {name: asdict(check) for name, check in results.items()},
                "mlflow": {
                    "tracking_uri": tracker.uri,
                    "experiment": tracker.experiment,
                    "run_id": tracker.run_id,
                },
            }
        )
        tracker.finish(summary)
        full_disk.write(
            *(run_dir / "summary.json", schema.written("summary.json", summary)),
            otherwise=tracker.summary,
            say=display.say,
        )
        if experiment.repeat == 0:
            tracker.model(record, run_dir)
        if keeper is not None:
            keeper.end()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        display.close()
        if keeper is not None:
            keeper.broken_off()
        if full_disk.is_cause(error):
            one = f"study={part.study}" if part else f"resume={tracker.run_id}"
            again = one if part or keeper else None
            raise full_disk.told(error, run_dir, again) from error
        raise
    finally:
        display.close()
        logs.fetch((one for s in record.stretches for one in s.started.values()), run_dir / "logs")
        written = config_file, environment_file, packages, run_dir / "summary.json"
        tracker.artifacts(*written, run_dir / "logs")
    return summary


def _take(
    event: Event, record: Record, display: Display, tracker: "Tracker", keeper: Keeper | None
) -> None:
    """What an event means for the terminal, the record, MLflow and the checkpoints."""
    experiment = record.experiment
    if isinstance(event, Progress):
        display.position(event)
        return
    if isinstance(event, Notice):
        display.say(event.text)
        return
    if isinstance(event, Ready):
        framework = experiment.options.framework
        found = str(event.resources["framework_version"])
        kept.refuse_other(framework.name, framework.version, found)
    epoch = record.add(event)
    if isinstance(event, Ready) and record.stretches[-1].whole:
        steps = len(record.dataset.train_labels) // experiment.global_batch
        epochs = experiment.options.epochs
        most = stopping.of(experiment.options).most(epochs * steps)
        display.begin(epochs, steps, experiment.global_batch, most)
        if record.kept_out:
            display.once(worker_environment.told(record.kept_out))
        if experiment.options.cluster.mode is ClusterMode.existing and record.nodes != 1:
            display.once(where(record))
    if epoch is not None:
        display.epoch(epoch)
        before = sum(one.steps for one in record.epochs[: epoch.index])
        tracker.epoch(epoch, before)
    if keeper is not None and epoch is not None:
        keeper.epoch(record, epoch.index)
    if keeper is not None and isinstance(event, Checkpoint):
        keeper.state(event)


def _task(experiment: Experiment, dataset: Dataset, live: bool) -> Task:
    """What the ranks are told."""
    options = experiment.options
    steps = len(dataset.train_labels) // experiment.global_batch
    return Task(
        framework=options.framework.name,
        spec=experiment.spec,
        program=experiment.program,
        epochs=options.epochs,
        global_batch=experiment.global_batch,
        seed=experiment.run_seed,
        live=live,
        measure_exchange=options.measure_exchange,
        checkpoint_every=options.checkpoint.every,
        rates=experiment.rates(steps),
        evaluate_every=options.evaluate.every,
        stop=stopping.of(options),
    )


def _write_json(path: Path, value: Any) -> Path:
    """Write a JSON file for people: indented, keys in their order."""
    return files.write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Enum members as their values, so that YAML shows them as users write them."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, str) else value
