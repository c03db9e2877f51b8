"""What ranks tell the driver while a run goes on, in this order; plain data, no framework."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Evaluation
from distlab.machine.devices.energy import DeviceWindow
from distlab.machine.load import CpuSeconds
from distlab.measure.clock import Window
from distlab.models.weights import Weights


@dataclass(frozen=True)
class Notice:
    """What the user is told while a start goes on: why it takes long, where something is."""

    text: str


@dataclass(frozen=True)
class Begun:
    """Workers begin a stretch of the run: at its start, and again after each failure.

    Attributes
    ----------
    group, group_run:
        The id of the group of worker processes, and how many runs they had made before.
    world_size:
        How many they are.
    epoch:
        The first epoch that they train, from 0.
    failure:
        What ended the stretch before, in a line; None at the start of the run.
    failed:
        When that was noticed, in seconds since 1970.
    """

    group: str
    group_run: int
    world_size: int
    epoch: int = 0
    failure: str | None = None
    failed: float | None = None


@dataclass(frozen=True)
class Started:
    """The rank's process runs; nothing of the framework is imported yet.

    ``log`` is the file on its host to which all goes that it prints, ``address`` that at which
    other ranks reach it, ``ended_for_memory`` what
    :func:`distlab.machine.process.ended_for_memory` said there.
    """

    rank: int
    host: str
    pid: int
    log: str = ""
    address: str = ""
    ended_for_memory: int | None = None


@dataclass(frozen=True)
class Ready:
    """The rank stands before its first timed step.

    Attributes
    ----------
    weights_sha256:
        Fingerprint of the initial weights, read back from the framework after the warm-up.
    optimizer_error:
        Largest deviation of a first update from the optimizer's, over all parameters, in learning
        rates; None where there are no moments to tell the gradient by.
    resources:
        What :meth:`distlab.backends.base.Backend.describe` said, and the process's CPU affinity.
    seconds:
        Durations of the start by cause: ``data``, ``framework_import``, ``process_group``,
        ``build``, ``warm_up`` (with ``compile`` contained in it) and ``limits``. In a process that
        is kept from an earlier run, the first three are 0.
    packages:
        What its Python has installed (:func:`distlab.outcome.environment.lock`); rank 0 only.
    """

    rank: int
    weights_sha256: str
    optimizer_error: float | None
    resources: dict[str, Any]
    seconds: dict[str, float]
    packages: str = field(default="", repr=False)


@dataclass(frozen=True)
class Progress:
    """A rank's position inside an epoch: that it lives, and what the progress bar shows.

    Attributes
    ----------
    step, seconds:
        Steps taken in the epoch, and how long they took.
    loss:
        Its loss in the last one.
    quiet_s:
        How long its next words may take, generously: ten times its slowest span so far; while it
        evaluates, ten times as long as training takes for as many samples.
    """

    rank: int
    epoch: int
    step: int
    seconds: float
    loss: float
    quiet_s: float = 0.0


@dataclass(frozen=True)
class Evaluated:
    """One rank's part of an evaluation inside an epoch.

    Attributes
    ----------
    step:
        How many steps of the epoch were taken.
    seconds:
        How long they took, evaluations not counted.
    evaluation:
        Sums over this rank's part of the test set.
    """

    step: int
    seconds: float
    evaluation: Evaluation


@dataclass(frozen=True)
class EpochDone:
    """One rank's part of one epoch.

    Attributes
    ----------
    window:
        The epoch's timing on this rank: the sum of its parts, if there were evaluations inside.
    losses:
        float32 ``[steps]``: local mean loss of each step.
    consumed:
        int32 ``[steps, local_batch]``: the training samples this rank consumed.
    evaluation:
        Sums over this rank's part of the test set, after the last step.
    cpu:
        CPU time of this process and of its machine during the window.
    device:
        What its device did meanwhile, and took.
    inner:
        The evaluations before that.
    stopped:
        What ended the run here, perhaps inside the epoch: ``at_target``, ``seconds`` or ``steps``;
        None if nothing did but the number of epochs.
    """

    rank: int
    epoch: int
    window: Window
    losses: NDArray[np.float32]
    consumed: NDArray[np.int32]
    evaluation: Evaluation
    cpu: CpuSeconds | None = None
    device: DeviceWindow | None = None
    inner: tuple[Evaluated, ...] = ()
    stopped: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Rank 0's state when so many epochs are done.

    A rank tells it after its own part of the last of them; engines hold it back until all ranks
    have told theirs.

    Attributes
    ----------
    epoch:
        How many epochs are done.
    state:
        :meth:`distlab.checkpoints.state.State.encoded`; None where the engine has put it in
        its place already.
    """

    rank: int
    epoch: int
    state: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Divergence:
    """A figure of the training was not finite. The rank goes on, because others wait for it.

    Attributes
    ----------
    epoch, step:
        Where that was so, from 0.
    figure:
        What it was: ``loss nan``, ``test loss inf``, ``weights``.
    """

    rank: int
    epoch: int
    step: int
    figure: str

    def __str__(self) -> str:
        place = f"step {self.step + 1} of epoch {self.epoch + 1} on rank {self.rank}"
        return f"diverged at {place}: {self.figure}"


@dataclass(frozen=True)
class ExchangeWindows:
    """Seconds of windows of equal steps, with and without the exchange of gradients."""

    with_exchange: tuple[float, ...]
    without: tuple[float, ...]


@dataclass(frozen=True)
class AllReduce:
    """What averaging an array of ``bytes`` over the ranks took one rank, in seconds, each time."""

    bytes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Finished:
    """The rank has ended its run in good order.

    Attributes
    ----------
    weights_sha256:
        Fingerprint of the final weights on this rank.
    weights:
        The final weights; rank 0 only, else None.
    peak_memory_bytes:
        Largest resident set of the process (``getrusage``), which is the host's memory on every
        device, until the end of the last epoch.
    exchange:
        What the exchange of gradients cost, where that was measured.
    peak_device_memory_bytes:
        Most GPU memory that the framework's arrays held at once, from the warm-up to the end of
        the last epoch (model and data included); None on a CPU.
    all_reduces:
        What averaging arrays over the ranks took, by size, where that was measured.
    """

    rank: int
    weights_sha256: str
    peak_memory_bytes: int
    weights: Weights | None = field(default=None, repr=False)
    exchange: ExchangeWindows | None = None
    peak_device_memory_bytes: int | None = None
    all_reduces: tuple[AllReduce, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The rank met an error; ``user_error`` holds the parts of a ``DistlabError``, if it is one."""

    rank: int
    message: str
    traceback: str = field(repr=False)
    user_error: tuple[str, str, str] | None = None


Event = (
    Notice
    | Begun
    | Started
    | Ready
    | Progress
    | EpochDone
    | Checkpoint
    | Divergence
    | Finished
    | Failed
)
