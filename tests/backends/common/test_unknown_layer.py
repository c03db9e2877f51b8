"""A layer that a backend does not know is told, by every backend and in every execution."""

from importlib.util import find_spec

import fresh_process
import pytest

ODD_MODEL = """
    from dataclasses import dataclass
    import numpy as np
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.errors import DistlabError
    from distlab.models.layers import Dense, Flatten, Layer
    from distlab.models.spec import ModelSpec
    from distlab.models.weights import draw

    @dataclass(frozen=True)
    class Softplus(Layer):
        def output_shape(self, shape):
            return shape

    spec = ModelSpec("odd", (Flatten(), Dense("one", 784, 10), Softplus()))
    kind = load({framework!r})
    backend = kind(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    data = np.zeros((8, 1, 28, 28), np.float32), np.zeros(8, np.int64)
    for execution in kind.executions:
        try:
            backend.build(spec, Program(4, execution=execution))
            backend.load_data(data, data)
            backend.set_weights(draw(spec, 0))
            backend.set_optimizer_state(OptimizerState.zero(spec))
            backend.train(np.arange(4, dtype=np.int32).reshape(1, 4))
        except DistlabError as error:
            print(execution, "|", error.found, "|", error.fix)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "package", "executions"),
    [
        ("torch", "torch", ["eager", "graph"]),
        ("tf", "tensorflow", ["graph", "eager"]),
        ("paddle", "paddle", ["eager", "graph"]),
    ],
)
def test_an_unknown_layer_is_told(framework: str, package: str, executions: list[str]) -> None:
    if find_spec(package) is None:
        pytest.skip(f'{package} is not installed: pip install "distlab[{framework}]"')
    done = fresh_process.run(ODD_MODEL.format(framework=framework))
    told = [line.split(" | ") for line in done.stdout.splitlines()]
    assert sorted(execution for execution, _, _ in told) == sorted(executions)
    for _, found, fix in told:
        assert found == f"distlab's backend for {package} does not know this kind of layer"
        assert fix == f"add a case for Softplus to distlab/backends/{package}/model.py"
