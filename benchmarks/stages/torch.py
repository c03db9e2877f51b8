"""The parts of a torch step, added one after the other, on the objects of distlab's backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from distlab.backends.torch_execution import logits


def stages(backend: Any, spec: Any, indices: np.ndarray) -> dict[str, Callable[[], Any]]:
    """By name, what runs a part of the step for each row of ``indices``."""
    images, labels = backend._train
    execution = backend._execution
    batches = torch.from_numpy(indices)
    compiled = hasattr(execution, "_gradient")

    def gather(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.index_select(0, batch), labels.index_select(0, batch)

    def forward(batch: torch.Tensor) -> torch.Tensor:
        x, y = gather(batch)
        outputs = logits(spec, execution.parameters, x) if compiled else execution._model(x)
        return functional.cross_entropy(outputs, y)

    def backward(batch: torch.Tensor) -> torch.Tensor:
        if compiled:
            return execution._gradient(execution._weights, images, labels, batch)[0]
        execution._optimizer.zero_grad(set_to_none=True)
        loss = forward(batch)
        loss.backward()
        return loss

    if compiled:
        forward = torch.compile(forward, fullgraph=True, dynamic=False)

    def loop(part: Callable[[torch.Tensor], Any]) -> Callable[[], Any]:
        def run() -> None:
            with torch.set_grad_enabled(not compiled):
                for batch in batches:
                    part(batch)

        return run

    return {"gather": loop(gather), "forward": loop(forward), "backward": loop(backward)}
