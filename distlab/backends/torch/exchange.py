"""What torch's ranks tell each other: sums of gradients, and means of running statistics."""

import os
import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from distlab.backends.base import Averaging

AWAKE_S = 0.005
"""For how long a rank stays awake while it waits for the others, in seconds."""


def all_reduce(tensor: Tensor) -> None:
    """Sum a tensor over the ranks, in place.

    On a CPU the waiting thread keeps its core awake for a while and gives it to whoever wants it:
    waking a core that sleeps takes longer than gloo's messages do.
    """
    if tensor.device.type != "cpu":
        dist.all_reduce(tensor)
        return
    work = dist.all_reduce(tensor, async_op=True)
    asleep_at = time.perf_counter() + AWAKE_S
    while not work.is_completed() and time.perf_counter() < asleep_at:
        os.sched_yield()
    work.wait()


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over the ranks, the same bits on each."""
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    all_reduce(flat)
    flat.div_(dist.get_world_size())
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def averaging(values: NDArray[np.float32], device: torch.device) -> Averaging:
    """See :meth:`distlab.backends.base.Backend.averaging` (not yet run on a GPU)."""
    held = torch.tensor(values, device=device)

    def run() -> None:
        all_reduce(held)
        held.div_(dist.get_world_size())
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return Averaging(run, lambda: held.cpu().numpy().copy())
