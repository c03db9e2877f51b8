"""A backend whose framework is NumPy and whose ranks are threads of one process.

It follows the contract of ``distlab.backends.base`` with the float64 reference, exchanges
gradients for real, and writes down how it is called.
"""

import threading
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from distlab.backends.base import Averaging, Backend, Evaluation, OptimizerState, Placement, Program
from distlab.checkpoints.state import State
from distlab.data.dataset import Dataset, LabelledImages
from distlab.experiment.experiment import Experiment
from distlab.experiment.training import stopping
from distlab.fairness import optimizers, reference
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights
from distlab.outcome.events import Event
from distlab.worker import loop


class World:
    """The process group: a barrier, a place for each rank's gradients, a log of all calls."""

    current: ClassVar["World"]

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.gradients: list[dict[str, NDArray[np.float64]]] = [{}] * size
        self.calls: list[list[tuple[str, Any]]] = [[] for _ in range(size)]

    @classmethod
    def create(cls, size: int) -> "World":
        cls.current = cls(size)
        return cls.current

    def mean(
        self, rank: int, gradients: dict[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        self.gradients[rank] = gradients
        self.barrier.wait()
        mean = {name: np.mean([g[name] for g in self.gradients], axis=0) for name in gradients}
        self.barrier.wait()
        return mean


class ThreadBackend(Backend):
    framework = "threads"
    executions = ("eager",)
    optimizers = ("adam", "adamw", "sgd")

    def __init__(self, placement: Placement) -> None:
        self._rank = placement.rank
        self._threads = placement.threads
        self._world = World.current
        self._log("init")

    def _log(self, call: str, detail: Any = None) -> None:
        self._world.calls[self._rank].append((call, detail))

    def describe(self) -> dict[str, Any]:
        self._log("describe")
        return {
            "framework_version": np.__version__,
            "device_name": "a processor",
            "threads": self._threads,
            "inter_op_threads": 1,
            "tf32": False,
            "collectives": "threads",
        }

    def build(self, spec: ModelSpec, program: Program) -> None:
        self._log("build", program)
        self._spec, self._exchange = spec, program.exchange
        self._adam = optimizers.of(program)

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        self._log("load_data")
        self._train, self._test = train, test

    def set_weights(self, weights: Weights) -> None:
        self._log("set_weights", {name: array.copy() for name, array in weights.items()})
        self._weights: dict[str, Any] = {n: a.astype(np.float64) for n, a in weights.items()}

    def weights(self) -> Weights:
        self._log("weights")
        return {name: array.astype(np.float32) for name, array in self._weights.items()}

    def set_optimizer_state(self, state: OptimizerState) -> None:
        self._log("set_optimizer_state", state)
        self._adam.t = state.step
        self._adam.m = {n: a.astype(np.float64) for n, a in state.first_moment.items()}
        self._adam.v = {n: a.astype(np.float64) for n, a in state.second_moment.items()}

    def optimizer_state(self) -> OptimizerState:
        self._log("optimizer_state")

        def single(moments: dict[str, NDArray[np.float64]]) -> Weights:
            return {name: array.astype(np.float32) for name, array in moments.items()}

        return OptimizerState(self._adam.t, single(self._adam.m), single(self._adam.v))

    def train(
        self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        self._log("train", indices.copy())
        rates = np.full(len(indices), self._adam.learning_rate) if rates is None else rates
        images, labels = self._train
        losses = []
        for batch, rate in zip(indices, rates, strict=True):
            loss, gradients = reference.loss_and_gradients(
                self._spec, self._weights, images[batch], labels[batch]
            )
            if self._exchange:
                gradients = self._world.mean(self._rank, gradients)
            self._weights = self._adam.step(self._weights, gradients, rate)
            losses.append(loss)
        return np.array(losses, np.float32)

    def evaluate(self, start: int, stop: int) -> Evaluation:
        self._log("evaluate", (start, stop))
        images, labels = self._test
        logits = reference.logits(self._spec, self.weights(), images[start:stop], np.float32)
        correct = int((logits.argmax(axis=1) == labels[start:stop]).sum())
        losses = reference.cross_entropies(logits.astype(np.float64), labels[start:stop])
        return Evaluation(stop - start, correct, float(losses.sum()))

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        held = {"": values.astype(np.float64)}
        self._log("averaging", values.nbytes)

        def run() -> None:
            self._log("averaged")
            held.update(self._world.mean(self._rank, held))

        return Averaging(run, lambda: held[""].astype(np.float32))

    def barrier(self) -> None:
        self._log("barrier")
        self._world.barrier.wait()

    def close(self) -> None:
        self._log("close")


def in_single_precision(patch: pytest.MonkeyPatch) -> None:
    """Have weights and moments be float32 after each span, as a framework's are."""
    trained = ThreadBackend.train

    def train(
        self: ThreadBackend, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        losses = trained(self, indices, rates)
        for held in (self._weights, self._adam.m, self._adam.v):
            for name, array in held.items():
                held[name] = array.astype(np.float32).astype(np.float64)
        return losses

    patch.setattr(ThreadBackend, "train", train)


def train(
    experiment: Experiment,
    dataset: Dataset,
    live: bool = False,
    runs: int = 1,
    checkpoint_every: int = 0,
    state: State | None = None,
) -> list[Event]:
    """Run distlab's worker loop on one thread per rank; give the events as they came.

    Several runs are made in the same ranks, one after the other.
    """
    size = experiment.world_size
    World.create(size)
    task = loop.Task(
        "threads",
        experiment.spec,
        experiment.program,
        experiment.options.epochs,
        experiment.global_batch,
        experiment.run_seed,
        live,
        experiment.options.measure_exchange,
        checkpoint_every,
        experiment.rates(len(dataset.train_labels) // experiment.global_batch),
        experiment.options.evaluate.every,
        stopping.of(experiment.options),
    )
    events: list[Event] = []
    errors: list[BaseException] = []

    def rank_thread(rank: int) -> None:
        placement = Placement(
            rank,
            size,
            rank,
            experiment.device,  # type: ignore[arg-type]
            ("nowhere:0",) * size,
            experiment.options.threads_per_worker,
        )
        try:
            facts = {"kept_out": {}, "inherited": {}}
            one = loop.Rank("threads", placement, dataset.normalized, facts)
            for _ in range(runs):
                for event in one.run(task, state):
                    events.append(event)
            one.close()
        except BaseException as error:
            errors.append(error)
            World.current.barrier.abort()

    _run_all(threading.Thread(target=rank_thread, args=(rank,)) for rank in range(size))
    if errors:
        raise errors[0]
    return events


def _run_all(threads: Iterable[threading.Thread]) -> None:
    running = list(threads)
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
