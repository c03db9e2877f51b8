"""The experiment as a validated value: checked options, resolved devices, comparison key."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from distlab.backends import registry
from distlab.backends.base import Program
from distlab.data import asked, dataset
from distlab.data.order import check_divisible
from distlab.data.published.catalogue import DIGITS
from distlab.environment import kept
from distlab.errors import DistlabError
from distlab.experiment import sizes
from distlab.experiment.options import (
    ClusterMode,
    Device,
    Engine,
    FrameworkOptions,
    ModelOptions,
    Options,
    Precision,
    Scaling,
    flat,
    with_mlflow_variables,
)
from distlab.experiment.training import optimizer, rates, stopping
from distlab.experiment.training.standard import beyond, is_standard
from distlab.machine.storage import is_shared
from distlab.models import grammar, shipped
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec

# What runs on one and on several workers may differ in and still be one series: where they run and
# are recorded, and how often. (Devices are in the comparison key; execution stands for itself.)
NOT_OF_A_SERIES = (
    "gpus",
    "device",
    "cluster.",
    "tracking.",
    "checkpoint.",
    "failures.",
    "data.",
    "repeats",
    "group_runs",
    "study",
    "resume",
    "take_over",
    "engine",
    "placement",
    "network.",
    "execution",
    "framework.execution",
    # What they lead to is told by the version that workers report.
    "framework.version",
    "framework.environment",
)
LAYERS = ("model.layers", "model.hidden")
"""Options that make up a model; in hashes its digest stands for them."""
KEYED_BY_NAME = ("mnist", "mnist5k")
"""The data sets that records know by name: so it was before data were known by content."""
KNOWN_BY_NAME = {"mlp": "be5019d348a37e81", "lenet5": "9e3df1a4ab5097e7"}
"""The digests of models that records know by name: so it was before models were config."""


@dataclass(frozen=True)
class Experiment:
    """A validated experiment whose devices are known.

    Attributes
    ----------
    options:
        The options as given, with defaults filled in.
    device, world_size:
        ``cpu`` or ``gpu``, and the number of workers; where it may change, the least at first.
    repeat:
        Which of several runs of the same options this is, from 0.
    sizes:
        The numbers of workers that it may have; empty where that is fixed.
    input_shape, classes:
        Of the data: channels, height and width of an image, and how many classes there are.
    """

    options: Options
    device: str
    world_size: int
    repeat: int = 0
    sizes: tuple[int, ...] = ()
    input_shape: Shape = DIGITS.shape
    classes: int = DIGITS.classes

    @property
    def run_seed(self) -> int:
        """The seed of this repeat's weights and sample order."""
        return self.options.seed + self.repeat

    @property
    def execution(self) -> str:
        """The execution asked for, else the framework's default for the model."""
        return self.options.resolved_execution

    @property
    def global_batch(self) -> int:
        """Samples of an optimizer step over all ranks."""
        weak = self.options.scaling is Scaling.weak
        return self.options.batch_size * (self.world_size if weak else 1)

    @cached_property
    def spec(self) -> ModelSpec:
        """The model."""
        return spec(self.options.model, self.input_shape, self.classes)

    @property
    def program(self) -> Program:
        """What every step computes."""
        return Program(
            local_batch=self.global_batch // self.world_size,
            learning_rate=rates.base(self.options, self.world_size),
            optimizer="stock" if self.options.optimizer.variant == "stock" else "reference",
            execution="graph" if self.execution == "graph" else "eager",
            precision=self.options.precision.value,
            rule=self.options.optimizer.name.value,
            **optimizer.numbers(self.options.optimizer),
        )

    def rates(self, steps_per_epoch: int) -> NDArray[np.float64]:
        """The learning rate of every step: ``[epochs * steps_per_epoch]``.

        Raises
        ------
        DistlabError
            If the warm-up is longer than the run.
        """
        return rates.made(self.options, self.world_size, steps_per_epoch)

    def series(self, data_checksum: str) -> str:
        """Hash of all that runs share which differ in their number of workers and nothing else."""
        options = {
            name: str(value)
            for name, value in flat(self.options).items()
            if not name.startswith((*NOT_OF_A_SERIES, *LAYERS))
            and not is_standard(name, value)
            and not (name == "pin" and value is None)
        }
        options |= known_by_layers(self.spec.name, self.spec.digest)
        options |= known_by_content(data_checksum)
        if self.options.engine is Engine.train:
            options["engine"] = str(Engine.train)
        made_up_of = json.dumps([self.execution, options], sort_keys=True)
        return hashlib.sha256(made_up_of.encode()).hexdigest()[:16]

    def comparison_key(self, data_checksum: str, device_name: str) -> str:
        """Hash of all that must be equal for two runs to be compared.

        Framework, execution and world size are what a comparison varies, so they are left out.

        Returns
        -------
        str
            The first 16 hexadecimal digits of a SHA-256.
        """
        options = self.options
        equal = {
            "model": options.model.name,
            "data": data_checksum,
            "device": [self.device, device_name],
            "epochs": options.epochs,
            "batch_size": options.batch_size,
            "scaling": str(options.scaling),
            "learning_rate": options.learning_rate,
            "optimizer": str(options.optimizer.variant),
            "seed": options.seed,
            "threads_per_worker": options.threads_per_worker,
        }
        # Keys of runs recorded before there were these choices stay what they are.
        layers = known_by_layers(self.spec.name, self.spec.digest)
        equal |= {name: told for name, told in layers.items() if name in LAYERS}
        equal |= beyond(flat(options))
        if options.stop.at_target:
            equal["target_accuracy"] = options.target_accuracy
        if options.precision is not Precision.fp32:
            equal["precision"] = str(options.precision)
        if options.pin is not None:
            equal["pin"] = str(options.pin)
        if options.engine is Engine.train:
            equal["engine"] = str(options.engine)
        return hashlib.sha256(json.dumps(equal, sort_keys=True).encode()).hexdigest()[:16]


def spec(
    options: ModelOptions, input_shape: Shape = DIGITS.shape, classes: int = DIGITS.classes
) -> ModelSpec:
    """The model that options describe, for data of a shape.

    Raises
    ------
    DistlabError
        If it isn't one, or doesn't fit the data, naming the layer.
    """
    layers, hidden = options.layers, options.hidden
    if layers is None:
        if options.name not in shipped.NAMES:
            raise DistlabError(
                f"model.name={options.name}",
                f"the models are {', '.join(shipped.NAMES)}",
                f"for example model={shipped.NAMES[0]}",
            )
        values = shipped.file(options.name)
        layers, hidden = values["layers"], hidden or values.get("hidden", [])
    if "hidden" not in layers and hidden == shipped.file("mlp")["hidden"]:
        hidden = []  # of model=mlp, whose layers were replaced
    return grammar.build(options.name, layers, tuple(input_shape), classes, hidden)


def digest(options: Options) -> str:
    """What stands for the model's layers in hashes: its digest, if the form of its data is known.

    Else that of its words, as they were written.
    """
    form = asked.form(options.data)
    if form is not None:
        return spec(options.model, *form).digest
    written = json.dumps([options.model.layers, options.model.hidden], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _called(options: ModelOptions, digest: str) -> str:
    """Its name; one that bears a shipped model's name and has other layers gets one of its own."""
    name = options.name
    if name not in shipped.NAMES or options.layers is None:
        return name
    values = shipped.file(name)
    if options.layers != values["layers"]:
        return f"{name}-{digest[:6]}"
    if options.hidden != values.get("hidden", []):
        return "-".join(map(str, (name, *options.hidden)))[:40]
    return name


def known_by_layers(name: str, digest: str) -> dict[str, str]:
    """What stands for the model in a hash of options: its name, and its layers' digest.

    Hashes of the models that there were when models were known by name are what they were.
    """
    known = KNOWN_BY_NAME.get(name) == digest
    return {"model.name": name} | ({} if known else {"model.layers": digest})


def known_by_content(checksum: str) -> dict[str, str]:
    """What stands for the data in a hash of options: its name if that is what it is, else more.

    Hashes of the canonical data sets are so what they were when data were known by name alone.

    Parameters
    ----------
    checksum:
        That of the images.
    """
    known = dataset.KNOWN.get(checksum)
    if known in KEYED_BY_NAME:
        return {"data.name": known}
    # Whichever option led to them; all that was not known by name was an IDX folder of data=mnist.
    return {"data.name": "mnist", "data": checksum}


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
        _check_elastic(options, *bounds)
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
        _check_installed(options.framework)
    rates.check(options)
    stopping.check(options)
    options = replace(options, optimizer=optimizer.completed(options.optimizer))
    name = _called(options.model, digest(options))
    options = replace(options, model=replace(options.model, name=name))
    _check_executions(options)
    return replace(options, gpus=gpus, tracking=with_mlflow_variables(options.tracking))


def resolve(options: Options, gpus_present: int, may_grow: bool = False) -> Experiment:
    """Decide device and world size, given how many GPUs Ray has, and check the batch.

    Parameters
    ----------
    options:
        The validated options.
    gpus_present:
        How many GPUs Ray has.
    may_grow:
        Whether it has more when they are asked for.

    Raises
    ------
    DistlabError
        If more GPUs are asked for than Ray has, or the world size doesn't divide the batch.
    """
    on_gpu = options.device is Device.gpu or (
        options.device is Device.auto and (options.gpus is not None or gpus_present > 0)
    )
    possible: tuple[int, ...] = ()
    if bounds := sizes.bounds(options.gpus):
        possible = sizes.dividing(*bounds, options.batch_size)
        world_size = possible[0]
    else:
        world_size = options.gpus or (max(gpus_present, 1) if on_gpu else 1)
    if on_gpu and gpus_present < world_size and not may_grow:
        raise DistlabError(
            f"{world_size} worker{'s' * (world_size > 1)} with one GPU each "
            f"(gpus={'null' if options.gpus is None else options.gpus} device={options.device})",
            f"Ray has {gpus_present} GPU{'s' * (gpus_present != 1)}",
            f"on CPU processes: {{command}} gpus={world_size} device=cpu",
        )
    if options.precision is Precision.tf32 and not on_gpu:
        raise DistlabError(
            "precision=tf32 on CPU workers",
            "TensorFloat-32 is a number format of NVIDIA's GPUs",
            "precision=bf16 or precision=fp32",
        )
    form = asked.form(options.data) or DIGITS
    device = "gpu" if on_gpu else "cpu"
    experiment = Experiment(options, device, world_size, 0, possible, *form)
    check_divisible(experiment.global_batch, world_size)
    if experiment.spec.buffers and experiment.program.local_batch < 2:
        raise DistlabError(
            f"model={options.model.name} with one sample of a step on each worker",
            "it has batch_norm, which takes the variance of a worker's samples",
            f"batch_size={2 * (1 if options.scaling is Scaling.weak else world_size)}",
        )
    return experiment


def engine(options: Options, by_itself: bool) -> Engine:
    """What places the workers of a run.

    Unless it is said, Ray Train does so for a run by itself that asks for what it is good at.

    Parameters
    ----------
    options:
        The validated options.
    by_itself:
        Whether it is no run of a study; those keep their workers, which Ray Train cannot.
    """
    if options.engine is not Engine.auto:
        return options.engine
    asks = (
        options.cluster.mode is ClusterMode.existing
        or sizes.bounds(options.gpus) is not None
        or (options.checkpoint.dir is not None and is_shared(options.checkpoint.dir))
    )
    return Engine.train if by_itself and asks else Engine.actors


def in_study(options: Options) -> None:
    """Refuse what a study cannot compare.

    Raises
    ------
    DistlabError
        If the number of workers may change in a run.
    """
    if bounds := sizes.bounds(options.gpus):
        raise DistlabError(
            f"gpus={bounds[0]}..{bounds[1]} in a study",
            "a study compares cells, each on a fixed number of workers",
            f"gpus={bounds[0]},{bounds[1]} with -m",
        )


def _check_elastic(options: Options, least: int, most: int) -> None:
    """Refuse a number of workers that may change where it cannot."""
    asked = f"gpus={least}..{most}"
    if options.repeats > 1 or options.study:
        in_study(options)
    if options.scaling is not Scaling.strong:
        raise DistlabError(
            f"{asked} with scaling={options.scaling}",
            "the global batch, and with it the mathematics, would change with the workers",
            f"{{command}} {asked} device={options.device} scaling=strong",
        )
    if options.engine is Engine.actors:
        raise DistlabError(
            f"{asked} with engine=actors",
            "their number is fixed; that of Ray Train's workers may change",
            "engine=train",
        )
    sizes.dividing(least, most, options.batch_size)


def _check_executions(options: Options) -> None:
    """Refuse an execution that the framework does not run, and defaults of unknown models."""
    framework = options.framework
    for model, execution in framework.execution_by_model.items():
        asked = f"framework.execution_by_model.{model}={execution}"
        models = dict.fromkeys((options.model.name, *shipped.NAMES))
        if model not in models:
            known = ", ".join(models)
            fix = f"framework.execution_by_model.{next(iter(models))}={execution}"
            raise DistlabError(asked, f"the models are {known}", fix)
        if execution not in framework.executions:
            raise _not_run(asked, framework, f"framework.execution_by_model.{model}")
    resolved = options.resolved_execution
    if resolved not in framework.executions:
        asked = f"framework={framework.name} execution={resolved}"
        raise _not_run(asked, framework, "execution")


def _not_run(asked: str, framework: FrameworkOptions, option: str) -> DistlabError:
    found = f"{framework.name} runs {' and '.join(framework.executions)} only"
    return DistlabError(asked, found, f"{option}={framework.executions[0]}")


def _check_job(address: str | None) -> None:
    """Refuse an address that is none of Ray's Jobs API."""
    if not re.fullmatch(r"https?://[^\s/]+/?", address or ""):
        raise DistlabError(
            f"cluster=job cluster.address={address or 'null'}",
            "a job is handed over to the dashboard of a Ray, by its http address",
            "cluster.address=http://HEAD:8265",
        )


def interpreter_of(framework: FrameworkOptions) -> Path | None:
    """The Python that a framework's workers start with; None for the one that is there anyway.

    Raises
    ------
    DistlabError
        If what is asked for is not there, with the command that makes it.
    """
    if framework.runtime_env:
        return None
    return kept.interpreter(
        *(framework.name, framework.package, framework.extra),
        *(framework.environment, framework.version),
    )


def _check_installed(framework: FrameworkOptions) -> None:
    """Refuse a framework that isn't there, without importing it."""
    if not registry.is_known(framework.name):
        raise DistlabError(
            f"framework={framework.name}",
            f"backends are installed for {', '.join(sorted(registry.available()))}",
            "install the package that offers this backend, or name one as module:Class",
        )
    environment = framework.environment
    if not framework.runtime_env:
        interpreter_of(framework)
    elif environment not in (None, kept.AUTO):
        raise DistlabError(
            f"framework.environment={environment} and a framework.runtime_env",
            "each of them says where the workers' framework is",
            "one of them: framework.runtime_env=null",
        )
