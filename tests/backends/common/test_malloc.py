"""Steps reuse the memory that earlier ones freed, where glibc holds it."""

import platform

import fresh_process
import pytest

BIG_STEPS = """
    import resource
    import numpy as np
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.models.shipped import MODELS
    from distlab.models.weights import draw

    backend = load({framework!r})(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(MODELS["lenet5"], Program(1024, execution="eager"))
    data = np.zeros((1024, 1, 28, 28), np.float32), np.zeros(1024, np.int64)
    backend.load_data(data, data)
    backend.set_weights(draw(MODELS["lenet5"], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS["lenet5"]))
    step = np.arange(1024, dtype=np.int32).reshape(1, 1024)
    for _ in range(3):
        backend.train(step)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        backend.train(step)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
FEW = 3 * 140 * 2**20 // 4096 // 10
"""A tenth of the pages of 4 KiB that three steps' activations fill, some 140 MiB each.

Memory that is given back costs a fault for each of them: 103,101 and 42,345 were counted. What a
busy machine adds (threads that start late, pages that the kernel moves) is some thousand.
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize("framework", ["torch", "paddle"])
def test_big_steps_cause_no_page_faults(framework: str) -> None:
    done = fresh_process.run(BIG_STEPS.format(framework=framework))
    assert int(done.stdout) < FEW
