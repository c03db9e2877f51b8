"""The contract between distlab and a framework.

To add a framework, write one subclass of :class:`Backend`, in a module or a folder of several, and
name it in your package's metadata::

    [project.entry-points."distlab.backends"]
    myframework = "mypackage.mymodule:MyBackend"

Then ``framework=myframework`` works, and one line of pytest holds it against the conformance
suite. The rest of distlab (the loop, the sample order, the clock, the statistics, the records)
is shared by all frameworks and never imports one; yours is the only code that does, and it is
imported in worker processes alone.

**Life of a backend.** Every rank is one process that owns one device. distlab, in this order,

1. sets the environment (``framework.env`` of the config, ``OMP_NUM_THREADS``) and imports your
   module;
2. makes ``MyBackend(placement)``: set thread counts, choose the device, join the process group;
3. calls :meth:`Backend.build` with the model spec and the :class:`Program`;
4. calls :meth:`Backend.load_data` once, with the whole training and test set, and then, once for
   each precision (on a GPU for each run), :meth:`Backend.barrier` and
   :meth:`Backend.matrix_product_rates`;
5. calls :meth:`Backend.set_weights` and :meth:`Backend.set_optimizer_state`, trains a few
   warm-up steps (compilation happens here), and sets both again: a backend must come back to
   exactly the state it was given;
6. for each epoch calls :meth:`Backend.barrier`, :meth:`Backend.train` for one span of steps
   after the other, :meth:`Backend.barrier`, and then, outside the clock, :meth:`Backend.evaluate`;
7. reads :meth:`Backend.weights`; a further run in the same process goes on at step 3, without
   loading data;
8. calls :meth:`Backend.close`.

**Rebuilding.** Processes are kept over several runs, so that :meth:`Backend.build` is called again
on one object after runs have been trained, any number of times, with the same or another model and
program (batch, execution, exchange ...), on all ranks alike. After a rebuild, once weights and
optimizer state are set, everything is as in a fresh process: losses, weights and evaluation are bit
for bit the same. The data that :meth:`Backend.load_data` was given stays, so its layout on the
device must not depend on model or program (or ``build`` must redo it). A rebuild drops whatever
belonged to the old model: memory must not grow with their number. Compiled programs may be kept for
a model and program that come back, a few of them; then a rebuild is quick.

**The mathematics is fixed** (see ``docs/fairness.md``): softmax cross-entropy averaged over the
global batch; gradients averaged over the global batch (all ranks hold equal shards, so the mean
over ranks of the local means); the optimizer that :attr:`Program.rule` names, as :class:`Program`
writes it, at the learning rate that :meth:`Backend.train` is given for each step, so that no
framework's schedule has a part in it. float32 arithmetic, TF32 off. How the framework dispatches
this (one kernel at a time or one compiled program) is what ``execution`` names, and is yours to
make fast. What each kind of layer computes is told in :mod:`distlab.models.layers`; one that you
don't have is refused by :meth:`Backend.build`.

**Batch normalization.** In training each rank uses the statistics of its own samples. Running
statistics (:attr:`~distlab.models.spec.ModelSpec.buffers`) go with the weights through
:meth:`Backend.set_weights` and :meth:`Backend.weights`. :meth:`Backend.train` moves them, and
before it returns they are the mean over all ranks, the same bits on each (unless
:attr:`Program.exchange` is False). Evaluation uses them and moves nothing.

**Canonical layouts.** Arrays cross the contract in one layout, whatever the framework holds:
float32, C-contiguous; dense weight ``[inputs, outputs]``; convolution weight
``[out_channels, in_channels, height, width]`` (OIHW); images ``[n, channels, height, width]``
(NCHW) in [0, 1]; flattening goes in channel, height, width order. A backend converts layouts and
never values: what it is given comes back bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from distlab.backends.program import MOMENTS, OptimizerState, Program
from distlab.data.dataset import LabelledImages
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights

__all__ = [
    "DESCRIPTION",
    "MOMENTS",
    "Averaging",
    "Backend",
    "Evaluation",
    "LabelledImages",
    "OptimizerState",
    "Placement",
    "Program",
    "Weights",
]
"""What a backend needs of distlab, wherever it is written."""
DESCRIPTION = {
    "framework_version": str,
    "device_name": str,
    "threads": int,
    "inter_op_threads": int,
    "tf32": bool,
    "collectives": str,
}
"""What :meth:`Backend.describe` must tell, and the types."""


@dataclass(frozen=True)
class Placement:
    """Where this rank stands: its place in the process group and the device it owns.

    Attributes
    ----------
    rank, world_size:
        This process's index and the number of processes, over all nodes.
    local_rank:
        This process's index among those of its node.
    device:
        ``cpu`` or ``gpu``. On ``gpu`` exactly one device is visible to the process, as index 0.
    endpoints:
        ``host:port`` of every rank, in rank order; the port is kept for that rank, and can be
        bound with ``SO_REUSEADDR``. Rank 0's serves as the rendezvous where a framework needs only
        one.
    threads:
        Computing threads that this process may use (intra-op); inter-op pools get 1.
    folder:
        An empty folder, where all ranks are on one machine, that no other user may enter: ranks
        that meet by files in it need no port for that. None where they are on several, or it is
        not known.
    deterministic:
        Whether the same calls must give the same bits again, at the price of time: nothing that
        chooses algorithms by timing them, and no kernels whose sums have no fixed order.
        Conformance on a GPU asks for it; runs do not.
    """

    rank: int
    world_size: int
    local_rank: int
    device: Literal["cpu", "gpu"]
    endpoints: tuple[str, ...]
    threads: int
    folder: str | None = None
    deterministic: bool = False

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host of every rank, in rank order."""
        return tuple(endpoint.rsplit(":", 1)[0] for endpoint in self.endpoints)


@dataclass(frozen=True)
class Evaluation:
    """Sums over the test samples that one rank evaluated.

    Attributes
    ----------
    samples:
        How many samples were evaluated, padding not counted.
    correct:
        How many of them had their label as the largest logit.
    loss_sum:
        Sum of their cross-entropies, accumulated in float64.
    """

    samples: int
    correct: int
    loss_sum: float


@dataclass(frozen=True)
class Averaging:
    """An array that every rank holds on its device, and that ranks average again and again.

    Two functions, so that a clock around the first holds no copy to NumPy.

    Attributes
    ----------
    run:
        Replace the array by its mean over the ranks, the same bits on each, as training averages
        gradients. When it returns, the device has done it. All ranks call it.
    read:
        What the array holds now, as a copy.
    """

    run: Callable[[], None]
    read: Callable[[], NDArray[np.float32]]


class Backend(ABC):
    """One framework, one device, one rank. See the module's text for its life and its rules.

    A backend keeps no clock, draws no random number, shuffles nothing, writes no record and
    prints nothing.
    """

    framework: ClassVar[str]
    """The name users give: ``framework=<this>``."""

    executions: ClassVar[tuple[str, ...]]
    """Which of ``eager`` and ``graph`` it can run."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    """Which of ``fp32``, ``tf32`` and ``bf16`` it can run (``tf32`` on GPUs only)."""

    optimizers: ClassVar[tuple[str, ...]] = ("adam",)
    """Which of ``adam``, ``adamw`` and ``sgd`` it can run."""

    @abstractmethod
    def __init__(self, placement: Placement) -> None:
        """Set threads, take the device and join the process group of all ranks.

        World size 1 needs no process group. It may block while other ranks are missing: distlab
        guards the start with a timeout.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What is really in use, read back from the framework, for the run's record and checks.

        Keys: ``framework_version`` (str), ``device_name`` (str), ``threads`` (int, intra-op
        threads in effect), ``inter_op_threads`` (int), ``tf32`` (bool, whether float32 products
        may be rounded to TF32), ``collectives`` (str, e.g. ``gloo``, ``nccl``, ``none``); more
        keys may follow. Reports tell ``tuned`` (list of str: what is not as the framework comes,
        in words), ``compiled_from_cache`` (bool) and ``cold_compile_s`` (seconds that compiling
        takes where it was found in no cache).
        """

    @abstractmethod
    def build(self, spec: ModelSpec, program: Program) -> None:
        """Make the model and the optimizer; weights and optimizer state are set afterwards.

        It is called again for every further run of the process, with any spec and program, and
        drops the model before; the data stays (see *Rebuilding* in the module's text).

        Raises
        ------
        distlab.errors.DistlabError
            If this framework cannot run the combination (device, model, execution, optimizer).
        """

    @abstractmethod
    def load_data(
        self,
        train: LabelledImages,
        test: LabelledImages,
    ) -> None:
        """Put the data sets on the device, where batches are then gathered by index.

        Each is (images ``[n, channels, height, width]`` in [0, 1], labels ``[n]``). The arrays
        are read-only views of memory shared by the node's ranks: don't write to them, and don't
        copy them without need. It is called once, after the first :meth:`build`, and what it
        keeps serves every later one; if it is called again, other data takes the place of these.
        """

    @abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Set every parameter and running statistic on this rank, bit for bit."""

    @abstractmethod
    def weights(self) -> Weights:
        """Every parameter and running statistic, read back from the framework.

        Copies in the canonical layout: parameters in the spec's order, then running statistics.
        """

    @abstractmethod
    def set_optimizer_state(self, state: OptimizerState) -> None:
        """Set the optimizer's state, so that training goes on as if it had never stopped."""

    @abstractmethod
    def optimizer_state(self) -> OptimizerState:
        """The optimizer's state, read back from the framework, as copies."""

    @abstractmethod
    def train(
        self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Run one optimizer step for each row of ``indices`` and return the local losses.

        Gradients are averaged over the ranks, unless :attr:`Program.exchange` is False: then
        nothing is communicated.

        Parameters
        ----------
        indices:
            ``[steps, local_batch]``: the training samples that this rank takes in each step. All
            ranks call with the same shape. ``steps`` may differ from call to call, and ``train``
            must not compile again for it after the warm-up (a span of one step and two of up
            to 50).
        rates:
            ``[steps]``: the learning rate of each step, the same on all ranks; a backend rounds it,
            or what it computes of it, to float32. None: :attr:`Program.learning_rate` for all.

        Returns
        -------
        numpy.ndarray
            ``[steps]``: the mean loss over this rank's shard, before that step's update.
            When it returns, all of the device's work is done.
        """

    @abstractmethod
    def evaluate(self, start: int, stop: int) -> Evaluation:
        """Evaluate the test samples ``start`` to ``stop - 1``, each exactly once, on this rank.

        No communication: ranks may hold ranges of different lengths, an empty one among them.
        """

    @abstractmethod
    def barrier(self) -> None:
        """Return once the device is idle and every rank has called it."""

    @abstractmethod
    def close(self) -> None:
        """Leave the process group; the process can exit cleanly afterwards."""

    @classmethod
    def gpus_seen(cls) -> int | None:
        """How many GPUs this framework sees in this process, for ``python -m distlab.doctor``.

        None (what this method returns unless it is overridden) where it is not known.
        """
        return None

    def matrix_product_rates(self) -> dict[str, float]:
        """How fast this rank's device multiplies matrices, by this framework's libraries.

        The best of several large products, which have ended when they are timed, with the threads,
        settings and precision of the program that was built last
        (:func:`distlab.machine.ceiling.device_rate`): float32 matrices, of bfloat16 with ``bf16``.

        Returns
        -------
        dict
            Floating-point operations per second by the library's name. Empty (what this method
            returns unless it is overridden) where that is not known. On a CPU, distlab measures
            NumPy's products besides; the best rate counts.
        """
        return {}

    def peak_device_memory(self) -> int | None:
        """Most bytes that this framework's arrays held on the GPU at once, since the last call.

        What its allocator handed out, not what it keeps in reserve. None (what this method returns
        unless it is overridden) on a CPU and where it is not known.
        """
        return None

    def averaging(self, values: NDArray[np.float32]) -> Averaging | None:
        """Put values on the device, to be averaged over the ranks by the collective of training.

        distlab times it for arrays of several lengths, of which it predicts what the exchange
        costs more ranks, and has ranks agree by it, between spans of training, on the end of a
        run (``stop.at_target``, ``stop.seconds``). It is called among several ranks, in a model
        that is built with :attr:`Program.exchange`, and by all of them with the same length.

        Parameters
        ----------
        values:
            ``[n]``: this rank's own; they are copied.

        Returns
        -------
        Averaging or None
            None (what this method returns unless it is overridden) where that is not offered.
        """
        return None
