"""A complete backend in NumPy: an example for a stranger, and quick to start in tests.

Forward and backward pass are the reference's; weights and moments are kept in float32. Ranks
exchange gradients over sockets through rank 0.
"""

import time
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np
import rounded_products
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from distlab.backends.base import Averaging, Backend, Evaluation, OptimizerState, Placement, Program
from distlab.data.dataset import LabelledImages
from distlab.fairness import reference
from distlab.models.spec import ModelSpec
from distlab.models.weights import Weights

Rates = NDArray[np.float64] | None


class NumpyBackend(Backend):
    framework = "numpy"
    executions: tuple[str, ...] = ("eager",)
    precisions: tuple[str, ...] = ("fp32", "bf16")
    optimizers = ("adam", "adamw", "sgd")

    def __init__(self, placement: Placement) -> None:
        threadpool_limits(placement.threads)
        self.placement = placement
        self.connections: list[Connection] = []
        if placement.world_size > 1:
            host, port = placement.endpoints[0].rsplit(":", 1)
            self._connect(host, int(port))

    def _connect(self, host: str, port: int) -> None:
        if self.placement.rank == 0:
            with Listener((host, port)) as listener:
                peers = [listener.accept() for _ in range(self.placement.world_size - 1)]
            # In rank order, so that sums are formed in the same order in every run.
            ranks = {peer.recv(): peer for peer in peers}
            self.connections = [ranks[rank] for rank in sorted(ranks)]
            return
        while not self.connections:
            try:
                self.connections = [Client((host, port))]
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.connections[0].send(self.placement.rank)

    def mean(self, value: Any) -> Any:
        """The mean of all ranks' values, bit-equal on all."""
        if self.placement.rank == 0:
            for peer in self.connections:
                value = value + peer.recv()
            value = value / self.placement.world_size
            for peer in self.connections:
                peer.send(value)
            return value
        self.connections[0].send(value)
        return self.connections[0].recv()

    def describe(self) -> dict[str, Any]:
        return {
            "framework_version": np.__version__,
            "device_name": "cpu",
            "threads": max((pool["num_threads"] for pool in threadpool_info()), default=1),
            "inter_op_threads": 1,
            "tf32": False,
            "collectives": "sockets" if self.connections else "none",
        }

    def build(self, spec: ModelSpec, program: Program) -> None:
        self.spec, self.program = spec, program

    def load_data(self, train: LabelledImages, test: LabelledImages) -> None:
        self.train_set, self.test_set = train, test

    def set_weights(self, weights: Weights) -> None:
        self.parameters = copy(weights)

    def weights(self) -> Weights:
        return copy(self.parameters)

    def set_optimizer_state(self, state: OptimizerState) -> None:
        self.t, self.m, self.v = state.step, copy(state.first_moment), copy(state.second_moment)

    def optimizer_state(self) -> OptimizerState:
        return OptimizerState(self.t, copy(self.m), copy(self.v))

    def train(self, indices: NDArray[np.int32], rates: Rates = None) -> NDArray[np.float32]:
        images, labels = self.train_set
        losses = []
        rates = self.program.rates(len(indices)) if rates is None else rates
        for batch, self.rate in zip(indices, rates, strict=True):
            with rounded_products.products(self.program.precision):
                loss, gradients, running = reference.step(
                    self.spec, self.parameters, images[batch], labels[batch]
                )
            self.step(self.averaged(gradients))
            self.parameters |= {name: one.astype(np.float32) for name, one in running.items()}
            losses.append(loss)
        self.meet_running()
        return np.array(losses, np.float32)

    def meet_running(self) -> None:
        """Running statistics become their mean over the ranks."""
        if self.spec.buffers:
            self.parameters |= self.averaged({n: self.parameters[n] for n in self.spec.buffers})

    def averaged(self, gradients: dict[str, NDArray[np.float64]]) -> Weights:
        """The mean over ranks, in one message: many small ones would wait for each other."""
        flat = np.concatenate([g.ravel() for g in gradients.values()], dtype="f4")
        if self.program.exchange:
            flat = self.mean(flat)
        ends = np.cumsum([g.size for g in gradients.values()])
        parts = zip(gradients.items(), np.split(flat, ends[:-1]), strict=True)
        return {name: part.reshape(g.shape) for (name, g), part in parts}

    def step(self, gradients: Weights) -> None:
        """The program's optimizer, at the rate of this step."""
        self.t += 1
        for name, g in gradients.items():
            before = self.parameters[name]
            change = self.descent(name, g) if self.program.rule == "sgd" else self.adam(name, g)
            self.parameters[name] = (before - self.rate * change).astype(np.float32)

    def adam(self, name: str, g: NDArray[np.float32]) -> NDArray[Any]:
        """Kingma & Ba (2015), Algorithm 1, and AdamW's decay."""
        program = self.program
        self.m[name] = program.beta1 * self.m[name] + (1 - program.beta1) * g
        self.v[name] = program.beta2 * self.v[name] + (1 - program.beta2) * g * g
        decay = program.weight_decay * self.parameters[name] if program.rule == "adamw" else 0
        return self.update(self.m[name], self.v[name]) + decay

    def update(self, m: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[Any]:
        m_hat = m / (1 - self.program.beta1**self.t)
        v_hat = v / (1 - self.program.beta2**self.t)
        return m_hat / (np.sqrt(v_hat) + self.program.epsilon)

    def descent(self, name: str, g: NDArray[np.float32]) -> NDArray[Any]:
        """Goyal et al. (2017), equation 9."""
        program = self.program
        g = g + program.weight_decay * self.parameters[name]
        if not program.momentum:
            return g
        self.m[name] = program.momentum * self.m[name] + g
        return g + program.momentum * self.m[name] if program.nesterov else self.m[name]

    def evaluate(self, start: int, stop: int) -> Evaluation:
        images, labels = (array[start:stop] for array in self.test_set)
        logits = reference.logits(self.spec, self.parameters, images, np.float32)
        losses = reference.cross_entropies(logits.astype(np.float64), labels)
        correct = int((logits.argmax(axis=1) == labels).sum())
        return Evaluation(stop - start, correct, float(losses.sum()))

    def barrier(self) -> None:
        self.mean(0.0)

    def averaging(self, values: NDArray[np.float32]) -> Averaging:
        held = [values.copy()]

        def run() -> None:
            held[0] = self.mean(held[0])

        return Averaging(run, lambda: held[0].copy())

    def close(self) -> None:
        self.barrier()
        for connection in self.connections:
            connection.close()


def copy(arrays: Weights) -> Weights:
    return {name: array.copy() for name, array in arrays.items()}
