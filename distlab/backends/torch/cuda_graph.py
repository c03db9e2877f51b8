"""Steps as a CUDA graph: recorded once, started by a single call each.

Written after PyTorch's notes on CUDA graphs and not yet run on a GPU.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]
"""From a batch's indices ``[local_batch]`` and the optimizer's factors to the loss ``[]``."""

STEPS = 64
"""How many steps' indices, factors and losses lie on the device at a time."""
WARM_UPS = 3
"""Steps before the recording, in which libraries are loaded and kernels are compiled."""


class RecordedStep:
    """One training step as a CUDA graph that works through a table of batches.

    The graph reads its batch's row number from the device and counts it on, so that one start of it
    is all that a step costs the host: no copies, and no waiting until the last loss is read. An
    all-reduce over NCCL inside ``step`` is recorded with the rest.

    Parameters
    ----------
    step:
        The step; whatever else it reads and changes stays at its place on the device. It must not
        wait for the device.
    local_batch:
        Samples of a step on this rank.
    idle:
        The optimizer's factors with which a step changes nothing, for the steps that warm up.
    device:
        The GPU.

    Attributes
    ----------
    peak:
        Most bytes that were held on the device while it was recorded.
    """

    def __init__(self, step: Step, local_batch: int, idle: Tensor, device: torch.device) -> None:
        self._batches = torch.zeros((STEPS, local_batch), dtype=torch.int32, device=device)
        self._scales = idle.to(device).repeat(STEPS, 1)
        self._losses = torch.zeros(STEPS, device=device)
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        # Capture needs a stream that is not the default one, which must have seen all work before.
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._one(step)
        torch.cuda.current_stream(device).wait_stream(stream)
        torch.cuda.synchronize(device)
        # What searching for algorithms took is no part of the peak; what is recorded stays.
        torch.cuda.reset_peak_memory_stats(device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._one(step)
        self.peak = torch.cuda.max_memory_allocated(device)

    def _one(self, step: Step) -> None:
        batch = self._batches.index_select(0, self._row).squeeze(0)
        scales = self._scales.index_select(0, self._row).squeeze(0)
        self._losses.index_copy_(0, self._row, step(batch, scales).view(1))
        self._row.add_(1)

    def run(self, batches: Tensor, scales: Tensor) -> Tensor:
        """Take a step for each row of ``batches`` and ``scales``; return the losses."""
        losses = torch.empty(len(batches), device=batches.device)
        for start in range(0, len(batches), STEPS):
            part = slice(start, start + STEPS)
            rows = len(batches[part])
            self._batches[:rows].copy_(batches[part])
            self._scales[:rows].copy_(scales[part])
            self._row.zero_()
            for _ in range(rows):
                self._graph.replay()
            losses[part] = self._losses[:rows]
        return losses
