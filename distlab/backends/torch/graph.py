"""How torch runs the steps compiled.

For one CPU worker several whole steps are one program on separate parameters; elsewhere all
parameters are one flat tensor, whose gradient needs one all-reduce, between two programs. On a CPU
they are compiled ahead of time (:mod:`distlab.backends.torch.aot`); on a GPU torch compiles them
here, and they and the all-reduce are recorded as one CUDA graph (not yet run on a GPU).
``optimizer.variant=stock`` runs torch's own Adam behind the compiled gradient, recorded with it.

Tensors here are in torch's layout (dense weights ``[outputs, inputs]``), named as in the spec.
"""

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distlab.backends.base import Program
from distlab.backends.torch import aot
from distlab.backends.torch.cuda_graph import RecordedStep
from distlab.backends.torch.exchange import all_reduce, average
from distlab.backends.torch.onednn import onednn_is_faster
from distlab.backends.torch.optimizers.fused import CALLED, Fused
from distlab.backends.torch.optimizers.rules import rule
from distlab.backends.torch.step import Function, Gradient, Loss, WholeSteps, steps_per_call
from distlab.errors import DistlabError
from distlab.models.spec import ModelSpec

COMPILED_PROGRAMS = 4
"""How many programs torch keeps that it compiled in this process."""

_compiled: set[Hashable] = set()


class Graph:
    """Forward, backward and optimizer compiled: whole steps, or halves around an all-reduce."""

    def __init__(
        self, spec: ModelSpec, program: Program, device: torch.device, world_size: int
    ) -> None:
        self._program, self._on_cpu = program, device.type == "cpu"
        self._exchange = program.exchange and world_size > 1
        self._share = torch.tensor(1 / world_size if self._exchange else 1.0, device=device)
        self.steps_taken = 0
        self._loss = Loss(spec, program.precision)
        self._per_call = steps_per_call(spec, program.local_batch)
        self._rule = rule(program)
        flat = [torch.zeros(spec.parameter_count, device=device) for _ in range(self._rule.moments)]
        self._weights, self._moments = torch.zeros(spec.parameter_count, device=device), flat
        self.parameters = self._loss.views(self._weights)
        self.moments = tuple(map(self._loss.views, flat))
        self.running = {n: torch.zeros(shape, device=device) for n, shape in spec.buffers.items()}
        self._whole = self._on_cpu and world_size == 1 and program.optimizer == "reference"
        if self._whole:  # faster apart on CPU; views that change compile badly
            self.parameters = _apart(self.parameters)
            self.moments = tuple(map(_apart, self.moments))
        self.products = "onednn and mkl" if self._on_cpu and onednn_is_faster() else "mkl"
        self.tuned = [
            f"{self._per_call} whole steps a call as one program"
            if self._whole
            else f"gradient and {CALLED[program.rule]} as programs of their own on one flat array"
        ]
        self.tuned.append(
            "compiled ahead of time (AOTInductor) and kept"
            if self._on_cpu
            else "steps recorded as a CUDA graph"
        )
        if self._exchange:
            self.tuned.append("one all-reduce of all gradients")
        if self.products != "mkl":
            self.tuned.append("large matrix products by oneDNN instead of MKL")
        self.compiled_from_cache: bool | None = None
        self.cold_compile_s: float | None = None
        self._functions: tuple[Hashable, dict[str, Callable[..., Any]]] | None = None
        self._recorded: tuple[tuple[int, int], RecordedStep] | None = None
        self._stock: Fused | None = None
        if program.optimizer == "stock":
            self._stock = Fused([self._weights], program, [[moment] for moment in flat])

    @property
    def recorded_peak(self) -> int:
        """Most bytes of the device that were held while the step was recorded, or 0."""
        return self._recorded[1].peak if self._recorded else 0

    def _compiled_for(self, images: Tensor, labels: Tensor) -> dict[str, Callable[..., Any]]:
        """The compiled functions for data of this size, by the names of :meth:`_calls`."""
        size = tuple((t.shape, t.stride(), t.dtype) for t in (images, labels))
        if self._functions is not None and self._functions[0] == size:
            return self._functions[1]
        calls = self._calls(images, labels)
        functions: dict[str, Callable[..., Any]] = {}
        if self._on_cpu:
            loaded = aot.load(calls)
            functions.update(loaded.functions)
            self.compiled_from_cache, self.cold_compile_s = loaded.from_cache, loaded.cold_s
        else:
            require_c_compiler()
            # Its advice to allow TF32, which precision=fp32 forbids on purpose.
            warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
            _make_room_for((self._loss, self._program.local_batch))
            for name, (function, _) in calls.items():
                written: Callable[..., Any] = function.__call__
                functions[name] = torch.compile(written, fullgraph=True, dynamic=False)
        self._functions = size, functions
        return functions

    def _calls(
        self, images: Tensor, labels: Tensor
    ) -> dict[str, tuple[Function, tuple[Tensor, ...]]]:
        """The functions that this program needs, and what they are called with, for its shapes."""
        batches = torch.empty((self._per_call, self._program.local_batch), dtype=torch.int32)
        scales = torch.empty((self._per_call, len(self._rule.idle)))
        if self._whole:
            called = images, labels, batches, scales, *self._state
            return {"steps": (WholeSteps(self._loss, self._rule), called)}
        gradient = images, labels, batches[0], self._weights, self._share, *self._running
        calls: dict[str, tuple[Function, tuple[Tensor, ...]]] = {
            "gradient": (Gradient(self._loss), gradient)
        }
        if self._stock is None:
            flat = self._weights, *self._moments, self._weights
            calls["optimizer"] = self._rule, (*flat, scales[0])
        return calls

    @property
    def _state(self) -> tuple[Tensor, ...]:
        """Weights, moments, running statistics, one after the other."""
        parts = self.parameters, *self.moments, self.running
        return tuple(tensor for part in parts for tensor in part.values())

    @property
    def _running(self) -> tuple[Tensor, ...]:
        return tuple(self.running.values())

    @torch.no_grad()
    def train(
        self, images: Tensor, labels: Tensor, batches: Tensor, rates: NDArray[np.float64]
    ) -> Tensor:
        """Run a step for each row of ``batches``, at its rate; return the local losses."""
        batches = batches.to(torch.int32).contiguous()  # what the steps are compiled for
        scales = self._scales(rates)
        if self._whole:
            losses = self._train_whole(images, labels, batches, scales)
        else:
            if self._stock is not None:
                self._stock.steps_taken = self.steps_taken
            train = self._train_apart if self._on_cpu else self._train_recorded
            losses = train(images, labels, batches, scales.to(images.device))
        self.steps_taken += len(batches)
        if self._exchange:
            average(self._running)
        return losses

    def _train_apart(
        self, images: Tensor, labels: Tensor, batches: Tensor, scales: Tensor
    ) -> Tensor:
        """A call of each program a step."""
        losses, functions = torch.empty(len(batches)), self._compiled_for(images, labels)
        for step, batch in enumerate(batches):
            losses[step] = self._step(functions, images, labels, batch, scales[step])
        return losses

    def _train_recorded(
        self, images: Tensor, labels: Tensor, batches: Tensor, scales: Tensor
    ) -> Tensor:
        """A start of the recorded step a step."""
        return self._record(images, labels).run(batches, scales)

    def _step(
        self,
        functions: Mapping[str, Callable[..., Any]],
        images: Tensor,
        labels: Tensor,
        batch: Tensor,
        scales: Tensor,
    ) -> Tensor:
        """Gradient, all-reduce and optimizer on the flat tensors; returns the local loss."""
        loss: Tensor
        loss, slope = functions["gradient"](
            images, labels, batch, self._weights, self._share, *self._running
        )
        if self._exchange:
            all_reduce(slope)
        if self._stock is None:
            functions["optimizer"](self._weights, *self._moments, slope, scales)
        else:
            self._stock.step([slope], self._program.learning_rate)
        return loss

    def _record(self, images: Tensor, labels: Tensor) -> RecordedStep:
        """The step on these data as a CUDA graph, recorded anew when other data come."""
        place = images.data_ptr(), labels.data_ptr()
        if self._recorded is None or self._recorded[0] != place:
            self._recorded = None  # the old one's memory goes first
            functions = self._compiled_for(images, labels)
            changed = [*self._running, *(self._stock.state if self._stock else ())]
            before = [tensor.to("cpu", copy=True) for tensor in changed]  # not on the GPU: its peak
            recorded = RecordedStep(
                lambda batch, scales: self._step(functions, images, labels, batch, scales),
                self._program.local_batch,
                torch.tensor(self._rule.idle),
                images.device,
            )
            for tensor, kept in zip(changed, before, strict=True):
                tensor.copy_(kept)  # steps that warm up move them
            self._recorded = place, recorded
        return self._recorded[1]

    def _train_whole(
        self, images: Tensor, labels: Tensor, batches: Tensor, scales: Tensor
    ) -> Tensor:
        """Several steps a call; the last call is filled up with steps that change nothing."""
        whole_steps, state = self._compiled_for(images, labels)["steps"], self._state
        steps, chunk = len(batches), self._per_call
        idle = -steps % chunk
        if idle:
            batches = torch.cat([batches, batches[-1:].expand(idle, -1)])
            scales = torch.cat([scales, torch.tensor([self._rule.idle]).expand(idle, -1)])
        losses = torch.empty(steps + idle)
        for start in range(0, steps, chunk):
            part = slice(start, start + chunk)
            (losses[part],) = whole_steps(images, labels, batches[part], scales[part], *state)
        return losses[:steps]

    def _scales(self, rates: NDArray[np.float64]) -> Tensor:
        """The optimizer's factors in steps at these rates: ``[steps, factors]``."""
        return torch.from_numpy(self._rule.factors(self._program, self.steps_taken, rates))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory, convolutions with their channels last in it."""
    return {
        name: tensor.clone(
            memory_format=torch.channels_last if tensor.dim() == 4 else torch.preserve_format
        )
        for name, tensor in tensors.items()
    }


def require_c_compiler() -> None:
    """Raise an error if there is none: Triton, by which torch compiles for GPUs, calls it.

    It takes ``CC``, gcc or clang, and gives it what includes ``Python.h`` (Triton's source,
    ``triton/runtime/build.py``). Not yet run on a GPU.
    """
    named = os.environ.get("CC")
    if not any(shutil.which(compiler) for compiler in ([named] if named else ["gcc", "clang"])):
        raise DistlabError(
            "execution=graph with framework=torch device=gpu",
            f"torch needs a C compiler to compile for a GPU, and there is no {named or 'gcc'}",
            "install gcc (apt-get install gcc)\nor execution=eager",
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        version = sysconfig.get_python_version()
        raise DistlabError(
            "execution=graph with framework=torch device=gpu",
            f"torch compiles for a GPU with Python's C header, and there is no {header}",
            f"install it (apt-get install python{version}-dev)\nor execution=eager",
        )


def _make_room_for(program: Hashable) -> None:
    """Let torch compile this program, unless it has it already.

    torch keeps compiled programs by the place of their source, which all programs share: one that
    comes back is found there. It refuses to compile more than 8 in one place; so before that many
    are there, all are dropped.
    """
    if program not in _compiled and len(_compiled) >= COMPILED_PROGRAMS:
        torch.compiler.reset()
        _compiled.clear()
    _compiled.add(program)
