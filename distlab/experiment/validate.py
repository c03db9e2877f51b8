"""What no run could use is refused: each option's values, and what doesn't go together."""

import math
import re
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from distlab.data import asked
from distlab.environment import kept
from distlab.errors import DistlabError
from distlab.experiment import sizes
from distlab.experiment.frameworks.usable import check_executions, check_installed
from distlab.experiment.model import called, digest
from distlab.experiment.options import ClusterMode, Options, flat, with_mlflow_variables
from distlab.experiment.training import optimizer, rates, stopping


def validate(config: DictConfig) -> Options:
    """Turn Hydra's composed config into options, refusing values that no run could use.

    Raises
    ------
    DistlabError
        Naming the option, its value and the values that are possible.
    """
    options = OmegaConf.to_object(config)
    assert isinstance(options, Options)
    return checked(options)


def checked(options: Options) -> Options:
    """Options of any origin, if a run could use them.

    Raises
    ------
    DistlabError
        Naming the option, its value and the values that are possible.
    """
    rate = options.learning_rate
    rules: list[tuple[str, bool, str, str]] = [
        ("epochs", options.epochs >= 1, "epochs count from 1", "10"),
        ("batch_size", options.batch_size >= 1, "samples count from 1", "64"),
        ("threads_per_worker", options.threads_per_worker >= 1, "threads count from 1", "1"),
        (
            "learning_rate",
            math.isfinite(rate) and rate > 0,
            "a learning rate is a positive number",
            "0.001",
        ),
        (
            "target_accuracy",
            0 <= options.target_accuracy <= 1,
            "an accuracy lies between 0 and 1",
            "0.985",
        ),
        (
            "seed",
            0 <= options.seed <= 2**63 - max(options.repeats, 1),
            "a seed is an integer from 0 to 2**63 - 1",
            "0",
        ),
        ("repeats", options.repeats >= 1, "repeats count from 1", "5"),
        (
            "group_runs",
            options.group_runs is None or options.group_runs >= 1,
            "a group of worker processes makes at least one run of a cell",
            "null",
        ),
        (
            "cluster.silence_timeout_s",
            options.cluster.silence_timeout_s is None or options.cluster.silence_timeout_s > 0,
            "a time-out is a positive number of seconds, or null",
            "60",
        ),
        (
            "cluster.start_timeout_s",
            options.cluster.start_timeout_s > 0,
            "a time-out is a positive number of seconds",
            "180",
        ),
        (
            "checkpoint.every",
            options.checkpoint.every >= 0,
            "epochs from one state to the next count from 1, and 0 keeps none",
            "1",
        ),
        ("checkpoint.keep", options.checkpoint.keep >= 1, "states count from 1", "2"),
        ("failures.max", options.failures.max >= 0, "failures count from 0", "3"),
        (
            "tracking.experiment",
            options.tracking.experiment is None or bool(options.tracking.experiment.strip()),
            "an experiment has a name",
            "distlab",
        ),
        (
            "framework.version",
            options.framework.version is None
            or bool(kept.VERSION.fullmatch(options.framework.version)),
            "a version is numbers with dots",
            "2.13.0",
        ),
        (
            "framework.environment",
            options.framework.environment is None
            or kept.is_path(options.framework.environment)
            or bool(kept.NAME.fullmatch(options.framework.environment)),
            "an environment is auto, null, a name of python -m distlab.environment list, or a path",
            kept.AUTO,
        ),
        (
            "model.name",
            bool(re.fullmatch(r"[\w.-]{1,40}", options.model.name)),
            "a model's name is a word of up to 40 letters, digits, dots and dashes",
            "small",
        ),
    ]
    for name, holds, rule, example in rules:
        if not holds:
            raise DistlabError(
                f"{name}={flat(options)[name]}", rule, f"for example {name}={example}"
            )
    asked.check(options.data)
    gpus = sizes.number(options.gpus)
    if bounds := sizes.bounds(options.gpus):
        gpus = options.gpus
        sizes.check_elastic(options, *bounds)
    if options.network.interface and options.cluster.mode is ClusterMode.local:
        raise DistlabError(
            f"network.interface={options.network.interface}",
            "workers of cluster=local are all on this machine and use its loopback",
            "{command} network.interface=null",
        )
    if options.cluster.address and options.cluster.mode is ClusterMode.local:
        address = f"cluster.address={options.cluster.address}"
        raise DistlabError(
            address,
            "cluster=local starts a Ray of its own and joins none",
            f"to join that one: cluster=existing {address}",
        )
    if options.cluster.mode is ClusterMode.job:
        _check_job(options.cluster.address)
    # A study's frameworks are those of its recorded plan, and this one may be but the default; a
    # job's are those of another machine.
    elif not options.study:
        check_installed(options.framework)
    rates.check(options)
    stopping.check(options)
    options = replace(options, optimizer=optimizer.completed(options.optimizer))
    name = called(options.model, digest(options))
    options = replace(options, model=replace(options.model, name=name))
    check_executions(options)
    return replace(options, gpus=gpus, tracking=with_mlflow_variables(options.tracking))


def _check_job(address: str | None) -> None:
    """Refuse an address that is none of Ray's Jobs API."""
    if not re.fullmatch(r"https?://[^\s/]+/?", address or ""):
        raise DistlabError(
            f"cluster=job cluster.address={address or 'null'}",
            "a job is handed over to the dashboard of a Ray, by its http address",
            "cluster.address=http://HEAD:8265",
        )
