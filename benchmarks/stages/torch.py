"""The parts of a torch step, added one after the other, on the objects of distlab's backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from distlab.backends.torch.model import logits
from distlab.backends.torch.onednn import onednn_is_faster


def product(size: int) -> Callable[[], Any]:
    """What multiplies two matrices of ``size`` rows and columns."""
    matrix = torch.linspace(-1, 1, size**2).view(size, size)
    return lambda: matrix @ matrix


def stages(backend: Any, spec: Any, indices: np.ndarray) -> dict[str, Callable[[], Any]]:
    """By name, what runs a part of the step for each row of ``indices``."""
    images, labels = backend._train
    execution = backend._execution
    batches = torch.from_numpy(indices)
    compiled = hasattr(execution, "_steps")

    def gather(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.index_select(0, batch), labels.index_select(0, batch)

    def loss(parameters: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> Any:
        return functional.cross_entropy(logits(spec, parameters, x, compiled=True), y)

    def forward(batch: torch.Tensor) -> Any:
        x, y = gather(batch)
        if compiled:
            return loss(execution.parameters, x, y)
        return functional.cross_entropy(execution._model(x), y)

    def backward(batch: torch.Tensor) -> Any:
        if compiled:
            x, y = gather(batch)
            return torch.func.grad_and_value(loss)(execution.parameters, x, y)
        for parameter in execution.parameters.values():
            parameter.grad = None
        value = forward(batch)
        value.backward()
        return value

    if compiled:
        from distlab.backends.torch.onednn.graph_pass import LargeProductsByOneDnn

        passes = {"post_grad_custom_post_pass": LargeProductsByOneDnn()}
        how = {"dynamic": False, "options": passes if onednn_is_faster() else {}}
        forward = torch.compile(forward, **how)
        backward = torch.compile(backward, **how)

    def loop(part: Callable[[torch.Tensor], Any]) -> Callable[[], Any]:
        def run() -> None:
            with torch.set_grad_enabled(not compiled):
                for batch in batches:
                    part(batch)

        return run

    return {"gather": loop(gather), "forward": loop(forward), "backward": loop(backward)}
