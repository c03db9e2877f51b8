"""The optimizers that torch compiles: their formulas, and that a rate compiles nothing anew.

This file runs itself in child processes: frameworks must not meet in the tests' process.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import fresh_process
import numpy as np
import pytest

from distlab.backends.base import OptimizerState, Placement
from distlab.conformance import kinds, rules
from distlab.fairness import optimizers, reference

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("torch") is None, reason='PyTorch is not installed: pip install "distlab[torch]"'
    ),
]
child = partial(fresh_process.found, __file__)
NAME = "sgd with Nesterov's momentum"


def written() -> dict[str, list[float]]:
    """By optimizer: how far it is from the oracle's, and what a step by idle factors changes."""
    import torch

    from distlab.backends.torch.optimizers.rules import rule

    random = np.random.default_rng(0)
    start = random.normal(0, 0.3, 50).astype(np.float32)
    slopes = random.normal(0, 1, (len(rules.RATES), 50)).astype(np.float32)
    found = {}
    for name, program in rules.PROGRAMS.items():
        one, oracle = rule(program), optimizers.of(program)
        update: Any = one
        weights, expected = torch.tensor(start), {"w": start}
        moments = [torch.zeros(50) for _ in range(one.moments)]
        factors = torch.from_numpy(one.factors(program, 0, rules.RATES))
        for step, rate in enumerate(rules.RATES):
            update(weights, *moments, torch.from_numpy(slopes[step]), factors[step])
            expected = oracle.step(expected, {"w": slopes[step].astype(np.float64)}, float(rate))
        off = float(np.abs(weights.numpy() - expected["w"]).max())
        held = [tensor.clone() for tensor in (weights, *moments)]
        update(weights, *moments, torch.ones(50), torch.tensor(one.idle))
        idle = [float((a - b).abs().max()) for a, b in zip((weights, *moments), held, strict=True)]
        found[name] = [off, max(idle)]
    return found


def compiled() -> dict[str, Any]:
    """Nesterov's momentum as one program: losses, the oracle's, and whether rates compile anew."""
    from distlab.backends.torch.aot import cache_folder
    from distlab.backends.torch.backend import TorchBackend

    spec = kinds.model(rules.MODEL)
    program = replace(rules.PROGRAMS[NAME], execution="graph")
    backend = TorchBackend(Placement(0, 1, 0, "cpu", (), threads=1))
    backend.build(spec, program)
    backend.load_data(kinds.data(), kinds.data())
    losses, expected, libraries = [], [], []
    for rates in (rules.RATES, rules.RATES[::-1].copy()):
        backend.set_weights(kinds.start(rules.MODEL))
        backend.set_optimizer_state(OptimizerState.zero(spec, program.moments))
        order = rules.order()
        spans = ((order[:1], rates[:1]), (order[1:], rates[1:]))
        losses.append([loss for span in spans for loss in backend.train(*span).tolist()])
        libraries.append(len(list(cache_folder().glob("*/steps.so"))))
        oracle = optimizers.of(program)
        data = kinds.start(rules.MODEL), *kinds.data(), order
        expected.append(reference.train(spec, oracle, *data, rates=rates)[0].tolist())
    return {"losses": losses, "expected": expected, "libraries": libraries}


def test_every_optimizer_is_its_formula_and_idle_steps_change_nothing() -> None:
    found = child("written")
    assert list(found) == list(rules.PROGRAMS)
    for off, idle in found.values():
        assert off < 2e-6 and idle == 0


def test_rates_are_obeyed_by_a_program_that_is_compiled_once(tmp_path: Any) -> None:
    found = child("compiled", XDG_CACHE_HOME=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=None)
    assert found["libraries"] == [1, 1]
    np.testing.assert_allclose(found["losses"], found["expected"], rtol=1e-6)
    assert found["losses"][0] != found["losses"][1]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
