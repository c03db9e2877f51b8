"""Large matrix products of compiled steps by oneDNN, on AMD processors with AVX-512.

torch multiplies float32 matrices with MKL, which stops at AVX2 on AMD processors. oneDNN, which
torch ships for its convolutions, uses AVX-512 there. So a pass over the compiled graph gives oneDNN
those products that are large enough to pay for the longer call.
"""

from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph

from distlab.backends.processor import amd_vector_bits

LARGE = 1_500_000
"""Multiplications of the smallest product that oneDNN computes; a call takes it some 12 us."""

_library = torch.library.Library("distlab", "DEF")
_library.define("product(Tensor a, Tensor b) -> Tensor")


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` by oneDNN: ``[m, k]`` times ``[k, n]``, float32, also transposed views."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a, b.t(), None, "none", [], "")
    return product


_library.impl("product", _product, "CPU")
torch.library.register_fake(
    "distlab::product", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), lib=_library
)


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


def products_by_onednn() -> dict[str, Any]:
    """Options of ``torch.compile`` that let oneDNN compute large products, where it is faster.

    Empty on processors on which MKL uses AVX-512 by itself, or which have none.
    """
    if amd_vector_bits() == 512 and torch.backends.mkldnn.is_available():
        return {"post_grad_custom_post_pass": LargeProductsByOneDnn()}
    return {}
