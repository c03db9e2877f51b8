"""All options of a command as typed dataclasses: the schema of the config tree (for Hydra)."""

import os
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from distlab.data.asked import DataOptions
from distlab.environment import kept

EXPERIMENT = "distlab"
"""The MLflow experiment where no other is named."""


class Device(StrEnum):
    """Where workers compute; ``auto`` is resolved once Ray's resources are known."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Execution(StrEnum):
    """How a framework dispatches a step."""

    eager = "eager"
    graph = "graph"


class Precision(StrEnum):
    """How products of matrices and convolutions are rounded."""

    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


class Scaling(StrEnum):
    """Whether ``batch_size`` counts each worker's samples or those of all workers."""

    weak = "weak"
    strong = "strong"


class Engine(StrEnum):
    """What places the workers: own actors, kept between runs, or Ray Train."""

    auto = "auto"
    actors = "actors"
    train = "train"


class Packing(StrEnum):
    """How many hosts the workers of a run share: as few as there is room on, or as many."""

    pack = "pack"
    spread = "spread"


class Pin(StrEnum):
    """What of a machine each worker has for itself."""

    cores = "cores"


class OptimizerName(StrEnum):
    """Which optimizer: :class:`distlab.backends.base.Program` has their formulas."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class RateSchedule(StrEnum):
    """How the learning rate goes on behind the warm-up."""

    constant = "constant"
    cosine = "cosine"
    step = "step"


class ByWorkers(StrEnum):
    """What several workers, and so a larger batch, make of the learning rate."""

    none = "none"
    linear = "linear"
    sqrt = "sqrt"


class OptimizerVariant(StrEnum):
    """The optimizer as the fairness contract defines it, or the framework's own Adam."""

    reference = "reference"
    stock = "stock"


class ClusterMode(StrEnum):
    """Start Ray for the command, join a running one, or hand the command over to one elsewhere."""

    local = "local"
    existing = "existing"
    job = "job"


@dataclass
class FrameworkOptions:
    """One file of ``conf/framework/``."""

    name: str = MISSING
    package: str = MISSING
    extra: str = MISSING
    execution: Execution = Execution.eager
    execution_by_model: dict[str, Execution] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=lambda: list(Execution))
    env: dict[str, str] = field(default_factory=dict)
    version: str | None = None
    environment: str | None = kept.AUTO
    runtime_env: Any = None


@dataclass
class ModelOptions:
    """One file of ``conf/model/``, or a user's own.

    ``layers`` are words (:mod:`distlab.models.words`); None, in records made before models were
    config, stands for the shipped model of this name.
    """

    name: str = MISSING
    target_accuracy: float = MISSING
    layers: Any = None
    hidden: list[int] = field(default_factory=list)


@dataclass
class OptimizerOptions:
    """One file of ``conf/optimizer/``.

    A number that is None is the file's, if the optimizer has it; so it is in records made when Adam
    was the only one.
    """

    variant: OptimizerVariant = OptimizerVariant.reference
    name: OptimizerName = OptimizerName.adam
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    weight_decay: float | None = None


@dataclass
class RateOptions:
    """The section ``rate``."""

    schedule: RateSchedule = RateSchedule.constant
    warmup_steps: int = 0
    drop_epochs: list[int] = field(default_factory=list)
    drop_factor: float = 0.1
    by_workers: ByWorkers = ByWorkers.none


@dataclass
class EvaluateOptions:
    """The section ``evaluate``."""

    every: int | None = None


@dataclass
class StopOptions:
    """The section ``stop``."""

    at_target: bool = False
    seconds: float | None = None
    steps: int | None = None


@dataclass
class TrackingOptions:
    """The section ``tracking``."""

    uri: str | None = None
    experiment: str | None = None
    log_model: bool = True
    system_metrics: bool = True


@dataclass
class ClusterOptions:
    """One file of ``conf/cluster/``."""

    mode: ClusterMode = ClusterMode.local
    address: str | None = None
    start_timeout_s: float = 180.0
    silence_timeout_s: float | None = None
    open_ports: bool = False


@dataclass
class NetworkOptions:
    """The section ``network``."""

    interface: str | None = None


@dataclass
class CheckpointOptions:
    """The section ``checkpoint``."""

    every: int = 1
    keep: int = 2
    dir: str | None = None


@dataclass
class FailureOptions:
    """The section ``failures``."""

    max: int = 3


@dataclass
class Options:
    """All options of a command, as ``conf/config.yaml`` documents them."""

    framework: FrameworkOptions = field(default_factory=FrameworkOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    cluster: ClusterOptions = field(default_factory=ClusterOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    rate: RateOptions = field(default_factory=RateOptions)
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    stop: StopOptions = field(default_factory=StopOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    failures: FailureOptions = field(default_factory=FailureOptions)
    gpus: Any = None
    device: Device = Device.auto
    execution: Execution | None = None
    precision: Precision = Precision.fp32
    epochs: int = 10
    batch_size: int = 64
    scaling: Scaling = Scaling.weak
    learning_rate: float = 1e-3
    seed: int = 0
    threads_per_worker: int = 1
    engine: Engine = Engine.auto
    pin: Pin | None = None
    placement: Packing = Packing.pack
    target_accuracy: float = MISSING
    measure_exchange: bool = True
    repeats: int = 1
    group_runs: int | None = None
    study: str | None = None
    resume: str | None = None
    take_over: bool = False

    @property
    def resolved_execution(self) -> str:
        """The execution asked for, else the framework's default for the model, else in general."""
        by_model = self.framework.execution_by_model.get(self.model.name)
        return str(self.execution or by_model or self.framework.execution)


def with_mlflow_variables(options: TrackingOptions) -> TrackingOptions:
    """Take from MLflow's own variables what the options leave open.

    ``MLFLOW_TRACKING_URI`` names the store. ``MLFLOW_EXPERIMENT_NAME`` names the experiment, or
    ``MLFLOW_EXPERIMENT_ID`` does, which the store translates (``experiment`` stays None).
    """
    name = options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name and not os.environ.get("MLFLOW_EXPERIMENT_ID"):
        name = EXPERIMENT
    uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return replace(options, uri=uri or None, experiment=name or None)


def mlflow_variables(options: TrackingOptions) -> str:
    """MLflow's own variables that say where records go, as ``NAME=VALUE`` words; or nothing."""
    used = {"MLFLOW_TRACKING_URI": options.uri, "MLFLOW_EXPERIMENT_NAME": options.experiment}
    if options.experiment is None:
        used["MLFLOW_EXPERIMENT_ID"] = os.environ.get("MLFLOW_EXPERIMENT_ID")
    return " ".join(
        f"{name}={value}" for name, value in used.items() if value and os.environ.get(name) == value
    )


def flat(options: Any) -> dict[str, Any]:
    """Options (of any such dataclass) as one level of ``section.name`` keys."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            return {
                k: v
                for name, inner in value.items()
                for k, v in walk(f"{prefix}.{name}" if prefix else name, inner).items()
            }
        return {prefix: str(value) if isinstance(value, StrEnum) else value}

    return walk("", asdict(options))
