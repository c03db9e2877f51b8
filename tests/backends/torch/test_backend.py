"""What is torch's alone; the rules for every backend stand in the conformance suite.

This file runs itself in child processes: frameworks must not meet in the tests' process.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import fresh_process
import numpy as np
import psutil
import pytest

from distlab.backends.base import OptimizerState, Placement, Program
from distlab.fairness import reference
from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.spec import ModelSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None, reason='PyTorch is not installed: pip install "distlab[torch]"'
    ),
]
child = partial(fresh_process.found, __file__)
"""What one of the functions below finds in a process of its own."""

# Few channels and many, windows of two sizes, one of them over overlapping kernels and padding.
SPEC = ModelSpec(
    "pooling",
    (
        Conv2D("few", 2, 3, kernel=3, padding=1),
        ReLU(),
        MaxPool2D(3),
        Conv2D("many", 3, 16, kernel=3),
        MaxPool2D(2),
        Flatten(),
        Dense("dense1", 16 * 2 * 3, 7),
        ReLU(),
        Dense("dense2", 7, 4),
    ),
    input_shape=(2, 18, 24),
)
PROGRAM = Program(local_batch=4)
STEPS = 10


def experiment() -> tuple[dict[str, Any], Any, Any]:
    """Weights, images with constant regions (so that maxima are tied), and labels."""
    random = np.random.default_rng(3)
    weights = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in SPEC.parameters.items()
    }
    images = random.random((40, *SPEC.input_shape), np.float32)
    images[:, :, :8] = 0
    images[:, :, :, :9] = 0.5
    return weights, images, random.integers(0, 4, 40)


ORDER = np.arange(4 * STEPS, dtype=np.int32).reshape(STEPS, 4)


def fresh(program: Program, spec: ModelSpec = SPEC) -> Any:
    """A backend of this process with the experiment's data and weights."""
    from distlab.backends.torch.backend import TorchBackend

    weights, images, labels = experiment()
    backend = TorchBackend(Placement(0, 1, 0, "cpu", (), threads=1))
    backend.build(spec, program)
    backend.load_data((images, labels), (images, labels))
    start(backend, weights)
    return backend


def start(backend: Any, weights: dict[str, Any]) -> None:
    backend.set_weights(weights)
    backend.set_optimizer_state(OptimizerState.zero(SPEC))


def spans() -> dict[str, Any]:
    """Ten steps cut in several ways: losses, weights and Adam's step after each."""
    backend = fresh(replace(PROGRAM, execution="graph"))
    found = {}
    for cut in ((10,), (1,) * 10, (3, 7), (7, 3), (2, 1, 3, 4)):
        start(backend, experiment()[0])
        parts = np.split(ORDER, np.cumsum(cut)[:-1])
        losses = [loss for part in parts for loss in backend.train(part).tolist()]
        state = backend.optimizer_state()
        held = [array.tobytes().hex() for array in backend.weights().values()]
        held += [array.tobytes().hex() for array in state.second_moment.values()]
        found[str(cut)] = {"losses": losses, "step": state.step, "held": held}
    return found


def pooling() -> dict[str, Any]:
    """The compiled pools' gradients beside those of torch's own layers."""
    import torch
    from torch.nn import functional

    from distlab.backends.torch.model import convolution_and_max_pool, max_pool

    weights, images, _ = experiment()
    weight, bias = (torch.tensor(weights[f"few.{kind}"]).double() for kind in ("weight", "bias"))
    x = torch.tensor(images[:4]).double()
    slopes = torch.linspace(-1, 1, 4 * 3 * 6 * 8, dtype=torch.float64).view(4, 3, 6, 8)

    def gradients(pooled: Callable[..., Any]) -> list[Any]:
        inputs = [part.clone().requires_grad_() for part in (x, weight, bias)]
        output = pooled(*inputs)
        return [output.tolist()] + [
            part.tolist() for part in torch.autograd.grad((output * slopes).sum(), inputs)
        ]

    def plain(x: Any, weight: Any, bias: Any) -> Any:
        return functional.max_pool2d(functional.conv2d(x, weight, bias, padding=1), 3)

    tied = torch.zeros((1, 1, 4, 4), requires_grad=True)
    max_pool(tied, 2).sum().backward()
    return {
        "plain": gradients(plain),
        "in_one": gradients(lambda x, w, b: convolution_and_max_pool(x, w, b, 1, 3)),
        "tied": tied.grad.tolist() if tied.grad is not None else None,
    }


def adam() -> dict[str, Any]:
    """Weights after ten steps of eager training, and of a loop with ``torch.optim.Adam``."""
    import torch
    from torch.nn import functional

    from distlab.backends.torch.model import module

    backend = fresh(PROGRAM)
    ours = backend.train(ORDER).tolist()
    loaded = sorted({"torch._dynamo", "sympy"} & set(sys.modules))
    weights, images, labels = experiment()
    model = module(SPEC)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = torch.tensor(weights[name])
            parameter.copy_(value.T if value.dim() == 2 else value)
            if value.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    losses = []
    for batch in ORDER:
        optimizer.zero_grad()
        loss = functional.cross_entropy(
            model(torch.tensor(images[batch])), torch.tensor(labels[batch])
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    arrays = {
        name: (p.T if p.dim() == 2 else p).detach().numpy() for name, p in model.named_parameters()
    }
    equal = [
        name for name, array in backend.weights().items() if np.array_equal(array, arrays[name])
    ]
    return {"ours": ours, "theirs": losses, "equal": equal, "loaded": loaded}


def compiled_here() -> dict[str, Any]:
    """Both halves of a step by ``torch.compile``, as on GPUs, and as they are written."""
    import torch

    from distlab.backends.torch.optimizers.rules import Adam
    from distlab.backends.torch.step import Gradient, Loss

    layers = (Flatten(), Dense("one", 2 * 18 * 24, 8), ReLU(), Dense("two", 8, 4))
    spec = ModelSpec("dense", layers, input_shape=SPEC.input_shape)
    _, images, labels = experiment()
    random = torch.Generator().manual_seed(0)
    start = [torch.rand(spec.parameter_count, generator=random) / 10 for _ in range(3)]
    inputs = torch.tensor(images), torch.tensor(labels), torch.tensor(ORDER[0])
    share, scales = torch.tensor(0.5), torch.tensor([1e-2, 1.1, 0.9, 0.1, 0.99, 0.01, 1e-8])
    found = {}
    for name in ("written", "compiled"):
        gradient, adam = Gradient(Loss(spec, "fp32")).__call__, Adam().__call__
        if name == "compiled":
            gradient, adam = (
                torch.compile(half, fullgraph=True, dynamic=False) for half in (gradient, adam)
            )
        weights, first, second = (part.clone() for part in start)
        with torch.no_grad():
            loss, slope = gradient(*inputs, weights, share)
            adam(weights, first, second, slope, scales)
        found[name] = [loss.item(), *(part.tolist() for part in (weights, first, second))]
    return found


def no_gpu() -> list[str] | None:
    """What is said where a GPU is asked for and there is none."""
    import torch

    from distlab.backends.torch.backend import TorchBackend
    from distlab.errors import DistlabError

    backend = fresh(PROGRAM)
    rates = backend.matrix_product_rates()
    assert {"torch"} <= set(rates) <= {"torch", "torch's oneDNN"}
    assert all(1e6 < rate < 1e15 for rate in rates.values())
    assert backend.peak_device_memory() is None
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    # What a bf16 run is held against are products of bfloat16.
    multiplied = []
    backend.build(SPEC, replace(PROGRAM, precision="bf16"))
    mm, torch.mm = torch.mm, lambda a, b: (multiplied.append(a.dtype), mm(a, b))[1]
    assert backend.matrix_product_rates()["torch"] > 0
    torch.mm = mm
    assert set(multiplied) == {torch.bfloat16}
    if torch.cuda.is_available():
        return None
    found = []
    try:
        TorchBackend(Placement(0, 1, 0, "gpu", ("127.0.0.1:1",), threads=1))
    except DistlabError as error:
        found = [error.asked, error.found, error.fix]
    # What is set where there is one: each rank compiles by itself, cuDNN chooses by timing or not.
    torch.cuda.is_available, torch.cuda.set_device = lambda: True, lambda device: None
    torch.set_num_interop_threads = lambda threads: None  # it can be set but once
    for deterministic in (False, True):
        TorchBackend(Placement(0, 1, 0, "gpu", (), 1, deterministic=deterministic))
        cudnn = torch.backends.cudnn
        assert (cudnn.benchmark, cudnn.deterministic) == (not deterministic, deterministic)
        assert os.environ.pop("TORCHINDUCTOR_COMPILE_THREADS") == "1"
    return found


def ranks_that_meet_by_files() -> list[list[str]]:
    """On which addresses each of two ranks listens that were given no endpoints, but a folder."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with tempfile.TemporaryDirectory() as folder:
        told, tell = os.pipe()
        rank = int(os.fork() == 0)

        from distlab.backends.torch.backend import TorchBackend

        backend = TorchBackend(Placement(rank, 2, rank, "cpu", (), 1, folder))
        backend.barrier()
        connections = psutil.Process().net_connections("inet")
        listening = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
        backend.barrier()
        backend.close()
        if rank == 1:
            os.write(tell, json.dumps(listening).encode())
            os._exit(0)
        return [listening, json.loads(os.read(told, 1000))]


def precisions() -> dict[str, Any]:
    """Losses and one evaluation for each execution and precision."""
    backend = fresh(PROGRAM)
    found = {}
    for execution in ("eager", "graph"):
        for precision in ("fp32", "bf16"):
            changed = {"execution": execution, "precision": precision}
            backend.build(SPEC, replace(PROGRAM, **changed))  # type: ignore[arg-type]
            start(backend, experiment()[0])
            evaluation = backend.evaluate(0, 40).loss_sum
            losses = backend.train(ORDER).tolist()
            types = sorted({str(array.dtype) for array in backend.weights().values()})
            tf32 = backend.describe()["tf32"]
            found[f"{execution} {precision}"] = (losses, evaluation, types, tf32)
    return found


def test_ranks_of_one_machine_meet_by_files_and_listen_on_loopback_alone() -> None:
    """But for gloo's own connections they listen on nothing."""
    first, second = child("ranks_that_meet_by_files")
    assert set(first) | set(second) <= {"127.0.0.1"}
    assert len(first) <= 1 and len(second) <= 1


def test_calls_that_are_filled_up_change_nothing() -> None:
    whole, *others = child("spans").values()
    assert whole["step"] == STEPS
    assert all(other == whole for other in others)
    weights, images, labels = experiment()
    expected = reference.losses(SPEC, weights, images, labels, ORDER)
    np.testing.assert_allclose(whole["losses"], expected, rtol=5e-6)


def test_compiled_pools_give_the_first_maximum_the_gradient() -> None:
    found = child("pooling")
    for ours, torchs in zip(found["in_one"], found["plain"], strict=True):
        np.testing.assert_allclose(ours, torchs, rtol=1e-12, atol=1e-12)
    assert found["tied"] == [[[[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4]]]


def test_torch_compiles_a_step_in_the_worker_where_a_gpu_needs_it() -> None:
    found = child("compiled_here")
    for written, compiled in zip(found["written"], found["compiled"], strict=True):
        np.testing.assert_allclose(compiled, written, rtol=1e-5, atol=1e-6)


def test_adam_as_a_function_is_torchs_adam_and_loads_no_compiler() -> None:
    found = child("adam")
    assert found["ours"] == found["theirs"]
    assert found["equal"] == list(SPEC.parameters)
    assert found["loaded"] == []


def test_a_gpu_that_torch_does_not_see_is_a_users_error() -> None:
    told = child("no_gpu")
    if told is None:
        pytest.skip("this torch sees a GPU")
    asked, found, fix = told
    assert "device=gpu" in asked
    assert f"PyTorch {version('torch')}" in found and "CUDA" in found
    assert "device=cpu" in fix


def test_bf16_rounds_training_and_not_evaluation() -> None:
    found = child("precisions")
    weights, images, labels = experiment()
    expected = np.array(reference.losses(SPEC, weights, images, labels, ORDER))
    for execution in ("eager", "graph"):
        exact, rounded = found[f"{execution} fp32"], found[f"{execution} bf16"]
        np.testing.assert_allclose(exact[0], expected, rtol=5e-6)
        error = np.abs(np.array(rounded[0]) - expected) / expected
        assert 1e-5 < error.max() < 0.05
        assert rounded[1] == exact[1]
        assert rounded[2:] == exact[2:] == [["float32"], False]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]]()))
