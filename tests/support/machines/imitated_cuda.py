"""What recording a CUDA graph asks of ``torch.cuda``, imitated on a CPU.

A recording notes each operation with the very tensors and numbers that it was called with and
changes nothing, as on a GPU; a replay does them again in the same places. So what the host computed
for itself stays as it was, and what read a value of the device is refused.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = (torch.ops.aten._local_scalar_dense.default,)
"""Operations that wait for the device and bring a value to the host."""


class CUDAGraph:
    """Operations, and where their results lie."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        for function, args, kwargs, results in self.done:
            again = function(*args, **kwargs)
            for place, result in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(place, torch.Tensor):
                    place.copy_(result)


class _Recording(TorchDispatchMode):
    def __init__(self, graph: CUDAGraph) -> None:
        super().__init__()
        self._graph = graph
        self.before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in READS:
            raise RuntimeError(f"{function}: not permitted when the stream is capturing")
        kwargs = kwargs or {}
        for place, told in enumerate(function._schema.arguments):
            if told.alias_info is None or not told.alias_info.is_write:
                continue
            written = args[place] if place < len(args) else kwargs.get(told.name)
            for tensor in tree_leaves(written):
                memory = tensor.untyped_storage()
                self.before.setdefault(memory.data_ptr(), (memory, memory.clone()))
        results = function(*args, **kwargs)
        self._graph.done.append((function, args, kwargs, results))
        return results


@contextlib.contextmanager
def _graph(graph: CUDAGraph, stream: object) -> Iterator[None]:
    recording = _Recording(graph)
    with recording:
        yield
    for memory, kept in recording.before.values():
        memory.copy_(kept)


def install(told: list[str]) -> None:
    """Let ``torch.cuda`` be this imitation; ``told`` gets what is asked of memory."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    vars(torch.cuda).update(
        Stream=lambda device: stream,
        stream=lambda one: contextlib.nullcontext(),
        current_stream=lambda device: stream,
        synchronize=lambda device: None,
        CUDAGraph=CUDAGraph,
        graph=_graph,
        reset_peak_memory_stats=lambda device: told.append("reset"),
        max_memory_allocated=lambda device: told.append("read") or 77,
    )
