"""The change of a compiled graph that gives its large matrix products to oneDNN."""

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph

from distlab.backends.torch import onednn  # noqa: F401  (registers the product)

LARGE = 1_500_000
"""Multiplications of the smallest product that oneDNN computes; a call takes it some 12 us."""


class LargeProductsByOneDnn(CustomGraphPass):
    """Replaces ``mm`` and ``addmm`` of large float32 matrices on a CPU, forward and backward."""

    def __call__(self, graph: Graph) -> None:
        """Change the graph in place."""
        aten = torch.ops.aten
        for node in list(graph.nodes):
            if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
                continue
            *bias, left, right = node.args
            a, b = left.meta["val"], right.meta["val"]
            on_cpu = a.device.type == "cpu" and a.dtype == torch.float32
            if not on_cpu or a.shape[0] * a.shape[1] * b.shape[1] < LARGE:
                continue
            with graph.inserting_before(node):
                new = graph.call_function(torch.ops.distlab.product.default, (left, right))
                new.meta["val"] = aten.mm.default(a, b)
                if bias:
                    new = graph.call_function(aten.add.Tensor, (new, *bias))
                    new.meta["val"] = node.meta["val"]
            node.replace_all_uses_with(new)
            graph.erase_node(node)

    def uuid(self) -> Any:
        """What torch's cache of compiled programs knows this pass by."""
        return get_hash_for_files((__file__,))
