"""Which products oneDNN computes in a compiled step, and that they are the same.

This file runs itself in child processes: frameworks must not meet in the tests' process.
"""

import json
import sys
from functools import partial
from importlib.util import find_spec
from typing import Any

import fresh_process
import numpy as np
import pytest

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.backends.common.processor import amd_vector_bits
from distlab.fairness import reference
from distlab.models.shipped import MODELS
from distlab.models.weights import draw

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None, reason='PyTorch is not installed: pip install "distlab[torch]"'
    ),
]
child = partial(fresh_process.found, __file__)
"""What one of the functions below finds in a process of its own."""

BATCH, STEPS = 64, 6
ORDER = np.arange(BATCH * STEPS, dtype=np.int32).reshape(STEPS, BATCH)


def data() -> tuple[Any, Any]:
    """Images and labels."""
    random = np.random.default_rng(5)
    images = random.random((BATCH * STEPS, 1, 28, 28), np.float32)
    return images, random.integers(0, 10, BATCH * STEPS)


def training() -> dict[str, Any]:
    """In a child: losses of the MLP's compiled steps, and which products went to oneDNN."""
    import torch

    from distlab.backends.torch.backend import TorchBackend

    backend = TorchBackend(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(MODELS["mlp"], Program(BATCH, execution="graph"))
    backend.load_data(data(), data())
    backend.set_weights(draw(MODELS["mlp"], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS["mlp"]))
    with torch.profiler.profile(record_shapes=True) as profile:
        losses = backend.train(ORDER).tolist()
    return {
        "losses": losses,
        "libraries": backend.describe()["products"],
        "onednn": [e.input_shapes for e in profile.events() if e.name == "distlab::product"],
    }


def replaced() -> dict[str, Any]:
    """In a child: what the pass makes of products, small and large, plain and with a bias."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from distlab.backends.torch.onednn.graph_pass import LARGE, LargeProductsByOneDnn

    aten, found = torch.ops.aten, {}
    side = int(LARGE ** (1 / 3)) + 1
    for name, size, dtype in (
        ("large", side, torch.float32),
        ("small", side - 2, torch.float32),
        ("double", side, torch.float64),
    ):
        a, b, c = (torch.rand(size, size, dtype=dtype) for _ in range(3))

        def both(a: Any, b: Any, c: Any) -> Any:
            return aten.mm(a, b), aten.addmm(c, a, b)

        module = make_fx(both, tracing_mode="fake")(a, b, c)
        LargeProductsByOneDnn()(module.graph)
        module.recompile()
        pairs = zip(module(a, b, c), both(a, b, c), strict=True)
        error = max(float((ours - plain).abs().max()) for ours, plain in pairs)
        kinds = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
        found[name] = [kinds, error]
    return found


def products() -> list[float]:
    """In a child: the largest difference to float64, for matrices and transposed views of such."""
    import torch

    from distlab.backends.torch import onednn  # noqa: F401

    random = np.random.default_rng(0)
    differences = []
    for transposed in range(4):
        a, b = random.random((30, 50), np.float32), random.random((50, 20), np.float32)
        left = torch.from_numpy(a.T.copy()).t() if transposed & 1 else torch.from_numpy(a)
        right = torch.from_numpy(b.T.copy()).t() if transposed & 2 else torch.from_numpy(b)
        ours = torch.ops.distlab.product(left, right).numpy()
        differences.append(float(np.abs(ours - a.astype(np.float64) @ b).max()))
    return differences


def test_a_product_takes_matrices_as_they_lie() -> None:
    found = child("products")
    assert len(found) == 4
    assert max(found) < 30 * 2**-24 * 50


def test_only_large_float32_products_are_replaced() -> None:
    found = child("replaced")
    ours = "distlab.product.default"
    assert found["large"][0] == [ours, ours, "aten.add.Tensor"]
    assert found["large"][1] < 1e-3
    plain = ["aten.mm.default", "aten.addmm.default"]
    assert found["small"] == found["double"] == [plain, 0]


def test_the_losses_are_the_references_whatever_computes_the_products() -> None:
    found = child("training")
    expected = reference.losses(MODELS["mlp"], draw(MODELS["mlp"], 0), *data(), ORDER)
    np.testing.assert_allclose(found["losses"], expected, rtol=2e-6)
    forward_and_backward = [[[64, 784], [784, 100]], [[100, 64], [64, 784]]]
    wide = amd_vector_bits() == 512
    assert found["libraries"] == ("onednn and mkl" if wide else "mkl")
    assert sorted(found["onednn"]) == sorted(forward_and_backward * STEPS if wide else [])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
