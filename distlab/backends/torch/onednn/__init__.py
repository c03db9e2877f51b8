"""Matrix products by oneDNN, for AMD processors with AVX-512.

torch multiplies float32 matrices with MKL, which stops at AVX2 on AMD processors. oneDNN, which
torch ships for its convolutions, uses AVX-512 there. So compiled steps give oneDNN those products
that are large enough to pay for the longer call (:mod:`distlab.backends.torch.onednn.graph_pass`).
"""

import torch
from torch import Tensor

from distlab.backends.common.processor import amd_vector_bits

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


def onednn_is_faster() -> bool:
    """Whether this processor is one on which MKL leaves AVX-512 unused, and oneDNN is there."""
    return amd_vector_bits() == 512 and torch.backends.mkldnn.is_available()
