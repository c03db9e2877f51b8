"""The experiment as a validated value: its devices, its program, the keys that compare it."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Program
from distlab.data import asked
from distlab.data.order import check_divisible
from distlab.data.published.catalogue import DIGITS
from distlab.errors import DistlabError
from distlab.experiment import sizes
from distlab.experiment.keys import LAYERS, NOT_OF_A_SERIES, known_by_content, known_by_layers
from distlab.experiment.model import spec
from distlab.experiment.options import (
    ClusterMode,
    Device,
    Engine,
    Options,
    Precision,
    Scaling,
    flat,
)
from distlab.experiment.training import optimizer, rates
from distlab.experiment.training.standard import beyond, is_standard
from distlab.machine.storage import is_shared
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec


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
