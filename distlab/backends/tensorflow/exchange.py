"""By what TensorFlow sums gradients, read from the operations that it traced."""

from typing import Any

import tensorflow as tf

HINT = "communication_hint"
"""The attribute of a collective operation that asks for an implementation."""


def collectives(traced: Any) -> str:
    """``nccl`` or ``grpc ring``: by what a traced function (a ``ConcreteFunction``) reduces.

    TensorFlow takes NCCL if the operation asks for it, stands on a GPU, and the build has it, as
    builds for CUDA do; otherwise its ring, without a word (``AssignCollectiveType`` in
    ``tensorflow/core/common_runtime/collective_param_resolver_local.cc``). Not yet run on a GPU.

    Raises
    ------
    ValueError
        If the function reduces nothing.
    """
    graph = traced.graph.as_graph_def()
    bodies = [graph.node, *(body.node_def for body in graph.library.function)]
    found = {
        _by(node.attr[HINT].s.decode(), node.device)
        for nodes in bodies
        for node in nodes
        if HINT in node.attr
    }
    if not found:
        raise ValueError("no collective operation in the traced function")
    return " and ".join(sorted(found))


def _by(hint: str, device: str) -> str:
    """What reduces where an operation has this hint on this device."""
    on_gpu = tf.DeviceSpec.from_string(device).device_type == "GPU"
    return "nccl" if hint == "nccl" and on_gpu and tf.test.is_built_with_cuda() else "grpc ring"
