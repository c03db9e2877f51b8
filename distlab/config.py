"""The experiment as typed options (for Hydra) and as a validated value (for everything else)."""

import hashlib
import importlib.util
import json
import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from distlab.backends import registry
from distlab.backends.base import Program
from distlab.data import sources
from distlab.data.order import check_divisible
from distlab.errors import DistlabError
from distlab.models.spec import MODELS, ModelSpec

_PACKAGED = Path(__file__).parent / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"
"""The config tree: inside the installed package, or at the top of the repository."""


class Device(StrEnum):
    """Where workers compute; ``auto`` is resolved once Ray's resources are known."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Execution(StrEnum):
    """How a framework dispatches a step."""

    eager = "eager"
    graph = "graph"


class Scaling(StrEnum):
    """Whether ``batch_size`` counts each worker's samples or those of all workers."""

    weak = "weak"
    strong = "strong"


class OptimizerVariant(StrEnum):
    """Adam as the fairness contract defines it, or the framework's own."""

    reference = "reference"
    stock = "stock"


class ClusterMode(StrEnum):
    """Start Ray for the command or join a running one."""

    local = "local"
    existing = "existing"


@dataclass
class FrameworkOptions:
    """One file of ``conf/framework/``."""

    name: str = MISSING
    package: str = MISSING
    extra: str = MISSING
    execution: Execution = Execution.eager
    executions: list[Execution] = field(default_factory=lambda: list(Execution))
    env: dict[str, str] = field(default_factory=dict)
    runtime_env: Any = None


@dataclass
class ModelOptions:
    """One file of ``conf/model/``."""

    name: str = MISSING
    target_accuracy: float = MISSING


@dataclass
class DataOptions:
    """One file of ``conf/data/``."""

    name: str = MISSING
    dir: str | None = None


@dataclass
class OptimizerOptions:
    """The section ``optimizer``."""

    variant: OptimizerVariant = OptimizerVariant.reference


@dataclass
class TrackingOptions:
    """The section ``tracking``."""

    uri: str | None = None
    experiment: str = "distlab"
    log_model: bool = True
    system_metrics: bool = True


@dataclass
class ClusterOptions:
    """One file of ``conf/cluster/``."""

    mode: ClusterMode = ClusterMode.local
    address: str | None = None
    start_timeout_s: float = 180.0


@dataclass
class Options:
    """All options of a command, as ``conf/config.yaml`` documents them."""

    framework: FrameworkOptions = field(default_factory=FrameworkOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    cluster: ClusterOptions = field(default_factory=ClusterOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    gpus: int | None = None
    device: Device = Device.auto
    execution: Execution | None = None
    epochs: int = 10
    batch_size: int = 64
    scaling: Scaling = Scaling.weak
    learning_rate: float = 1e-3
    seed: int = 0
    threads_per_worker: int = 1
    target_accuracy: float = MISSING


def register() -> None:
    """Give Hydra the schema, and a ``framework`` choice for each backend of another package."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Options)
    for name, entry in registry.available().items():
        if entry.dist is not None and entry.dist.name != "distlab":
            node = {"name": name, "package": entry.module.split(".")[0], "extra": name}
            store.store(group="framework", name=name, node=node)


@dataclass(frozen=True)
class Experiment:
    """A validated experiment whose devices are known.

    Attributes
    ----------
    options:
        The options as given, with defaults filled in.
    device, world_size:
        ``cpu`` or ``gpu``, and the number of workers.
    """

    options: Options
    device: str
    world_size: int

    @property
    def execution(self) -> str:
        """The execution asked for, else the framework's default."""
        return str(self.options.execution or self.options.framework.execution)

    @property
    def global_batch(self) -> int:
        """Samples of an optimizer step over all ranks."""
        weak = self.options.scaling is Scaling.weak
        return self.options.batch_size * (self.world_size if weak else 1)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return MODELS[self.options.model.name]

    @property
    def program(self) -> Program:
        """What every step computes."""
        return Program(
            local_batch=self.global_batch // self.world_size,
            learning_rate=self.options.learning_rate,
            optimizer="stock" if self.options.optimizer.variant == "stock" else "reference",
            execution="graph" if self.execution == "graph" else "eager",
        )

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
        return hashlib.sha256(json.dumps(equal, sort_keys=True).encode()).hexdigest()[:16]


def validate(config: DictConfig) -> Options:
    """Turn Hydra's composed config into options, refusing values that no run could use.

    Raises
    ------
    DistlabError
        Naming the option, its value and the values that are possible.
    """
    options = OmegaConf.to_object(config)
    assert isinstance(options, Options)
    gpus = 1 if options.gpus is None else options.gpus
    rate, timeout = options.learning_rate, options.cluster.start_timeout_s
    experiment, data, model = options.tracking.experiment, options.data.name, options.model.name
    rules: list[tuple[str, Any, bool, str, str]] = [
        ("epochs", options.epochs, options.epochs >= 1, "epochs count from 1", "10"),
        ("batch_size", options.batch_size, options.batch_size >= 1, "samples count from 1", "64"),
        ("gpus", gpus, gpus >= 1, "workers count from 1", "1"),
        (
            "threads_per_worker",
            options.threads_per_worker,
            options.threads_per_worker >= 1,
            "threads count from 1",
            "1",
        ),
        (
            "learning_rate",
            rate,
            math.isfinite(rate) and rate > 0,
            "a learning rate is a positive number",
            "0.001",
        ),
        (
            "target_accuracy",
            options.target_accuracy,
            0 <= options.target_accuracy <= 1,
            "an accuracy lies between 0 and 1",
            "0.985",
        ),
        (
            "seed",
            options.seed,
            0 <= options.seed < 2**63,
            "a seed is an integer from 0 to 2**63 - 1",
            "0",
        ),
        (
            "cluster.start_timeout_s",
            timeout,
            timeout > 0,
            "a time-out is a positive number of seconds",
            "180",
        ),
        (
            "tracking.experiment",
            experiment,
            bool(experiment.strip()),
            "an experiment has a name",
            "distlab",
        ),
        (
            "data.name",
            data,
            data in sources.NAMES,
            f"the data sets are {', '.join(sources.NAMES)}",
            sources.NAMES[0],
        ),
        (
            "model.name",
            model,
            model in MODELS,
            f"the models are {', '.join(MODELS)}",
            next(iter(MODELS)),
        ),
    ]
    for name, value, holds, rule, example in rules:
        if not holds:
            raise DistlabError(f"{name}={value}", rule, f"for example {name}={example}")
    _check_installed(options.framework)
    execution = options.execution or options.framework.execution
    if execution not in options.framework.executions:
        raise DistlabError(
            f"framework={options.framework.name} execution={execution}",
            f"{options.framework.name} runs {' and '.join(options.framework.executions)} only",
            f"execution={options.framework.executions[0]}",
        )
    return options


def resolve(options: Options, gpus_present: int) -> Experiment:
    """Decide device and world size, given how many GPUs Ray has, and check the batch.

    Raises
    ------
    DistlabError
        If more GPUs are asked for than Ray has, or the world size doesn't divide the batch.
    """
    on_gpu = options.device is Device.gpu or (
        options.device is Device.auto and (options.gpus is not None or gpus_present > 0)
    )
    world_size = options.gpus or (max(gpus_present, 1) if on_gpu else 1)
    if on_gpu and gpus_present < world_size:
        raise DistlabError(
            f"{world_size} worker{'s' * (world_size > 1)} with one GPU each "
            f"(gpus={'null' if options.gpus is None else options.gpus} device={options.device})",
            f"Ray has {gpus_present} GPU{'s' * (gpus_present != 1)}",
            f"on CPU processes: {{command}} gpus={world_size} device=cpu",
        )
    experiment = Experiment(options, "gpu" if on_gpu else "cpu", world_size)
    check_divisible(experiment.global_batch, world_size)
    return experiment


def names() -> list[str]:
    """All that a user may name: options (``data.dir``) and choices (``framework/torch``)."""
    choices = [f"{file.parent.name}/{file.stem}" for file in CONF.glob("*/*.yaml")]
    frameworks = [f"framework/{name}" for name in registry.available()]
    return sorted({*flat(Options()), *choices, *frameworks})


def flat(options: Options) -> dict[str, Any]:
    """The options as one level of ``section.name`` keys, for a tracker's parameters."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            return {
                k: v
                for name, inner in value.items()
                for k, v in walk(f"{prefix}.{name}" if prefix else name, inner).items()
            }
        return {prefix: str(value) if isinstance(value, StrEnum) else value}

    return walk("", asdict(options))


def _check_installed(framework: FrameworkOptions) -> None:
    """Refuse a framework that isn't there, without importing it."""
    if not registry.is_known(framework.name):
        raise DistlabError(
            f"framework={framework.name}",
            f"backends are installed for {', '.join(sorted(registry.available()))}",
            "install the package that offers this backend, or name one as module:Class",
        )
    elsewhere = bool(framework.runtime_env)
    if not elsewhere and importlib.util.find_spec(framework.package) is None:
        raise DistlabError(
            f"framework={framework.name}",
            f"the package {framework.package} is not installed",
            f'pip install "distlab[{framework.extra}]"',
        )
