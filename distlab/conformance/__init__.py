"""The conformance suite: what every backend must hold, with one line of pytest.

In the tests of the package that brings the backend::

    from distlab import conformance

    TestMyFramework = conformance.suite("myframework")

or from the command line, which prints a table and exits with 1 if anything failed::

    python -m distlab.conformance myframework

A backend that isn't installed as an entry point can be named ``module:Class``. Every rank runs in
a fresh process, so the calling process never imports a framework: for each execution that the
backend names and each of two models one world of one worker and one of two, side by side, go
through the same list of acts (``rank/``), and what they saw is then judged (``checks/``). Two more
worlds train a small model for each kind of layer, and one of them by each optimizer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from distlab.conformance.checks.compare import ConformanceError
from distlab.conformance.checks.contract import CHECKS
from distlab.conformance.checks.evidence import Evidence
from distlab.conformance.checks.layers import layers
from distlab.conformance.checks.rules import optimizers
from distlab.conformance.problem import PROGRAMS, Problem, pose
from distlab.conformance.rank import processes

LAYERS = "layers"
"""In place of a model: the small ones that hold each kind of layer."""
MODELS = (*PROGRAMS, LAYERS)
TIMEOUT_S = 180.0
PAIRED = ("workers", "replicas", "averaging", "barrier", "exchange_off")
"""Checks that need a world of two."""
THREADS = {"mlp": {1: 2, 2: 1}, "lenet5": {1: 1, 2: 1}, LAYERS: {1: 1, 2: 1}}
"""Threads of each process by model and world size: not always 1, to see that they are obeyed."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check of one execution and model: passed or not, and why."""

    check: str
    execution: str
    model: str
    passed: bool
    detail: str


def examine(
    framework: str,
    *,
    models: Sequence[str] = MODELS,
    execution: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    device: str = "cpu",
    worlds: Sequence[int] = (1, 2),
    problems: Mapping[str, Problem] | None = None,
) -> list[Outcome]:
    """Run the suite.

    Parameters
    ----------
    framework:
        Name of an installed backend, or ``module:Class``.
    models:
        Some of ``mlp``, ``lenet5`` and ``layers``.
    execution:
        One of ``eager`` and ``graph``; None for all that the backend names.
    env:
        Environment of the processes, set before the framework is imported; by default that of
        the framework's file in ``conf/framework/``, if it has one.
    timeout_s:
        When the processes of one execution and model are killed.
    device:
        ``cpu``, or ``gpu`` for a GPU for each rank, without what makes bits change from one time
        to the next (:attr:`distlab.backends.base.Placement.deterministic`).
    worlds:
        ``(1, 2)``, or ``(1,)`` where there is one GPU: checks of two workers are left out then.
    problems:
        What is asked, by model, in place of :func:`distlab.conformance.problem.pose`.

    Returns
    -------
    list of Outcome
        One for each check, execution and model.
    """
    environment = shipped_environment(framework) if env is None else env
    executions: tuple[str, ...] = (execution or "?",)
    outcomes = []
    index = 0
    while index < len(executions):
        for model in models:
            problem = None if model == LAYERS else (problems or {}).get(model) or pose(model)
            threads = {world: THREADS[model][world] for world in worlds}
            found = processes.run(
                framework, execution or index, problem, threads, environment, timeout_s, device
            )
            solo, pair = found[1], found.get(2, [])
            if execution is None:
                executions = solo[0].notes.get("executions") or executions
            if problem is None:
                for check in (layers, optimizers):
                    result = _result(partial(check, solo, pair))
                    outcomes.append(Outcome(check.__name__, executions[index], model, *result))
                continue
            name = None if ":" in framework else framework
            evidence = Evidence(name, problem, solo, pair)
            outcomes += [
                Outcome(check, executions[index], model, *_result(partial(CHECKS[check], evidence)))
                for check in CHECKS
                if pair or check not in PAIRED
            ]
        index += 1
    return outcomes


def suite(
    framework: str,
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    compiles_layers: bool = True,
) -> type:
    """A test class for pytest with one test for each check; assign it to a name with ``Test``.

    The processes run once, when the first test needs them. See :func:`examine` for parameters.
    Without ``compiles_layers``, kinds of layers and optimizers are looked at in eager execution
    alone: for a backend that takes minutes to compile their small models.
    """
    import pytest

    @cache
    def outcomes() -> list[Outcome]:
        given: dict[str, Any] = {"env": env, "timeout_s": timeout_s}
        if compiles_layers:
            return examine(framework, **given)
        eager = examine(framework, models=[LAYERS], execution="eager", **given)
        return [*eager, *examine(framework, models=tuple(PROGRAMS), **given)]

    class Conformance:
        @pytest.mark.parametrize("check", [*CHECKS, LAYERS, optimizers.__name__])
        def test_contract(self, check: str) -> None:
            failed = [o for o in outcomes() if o.check == check and not o.passed]
            text = [f"{o.execution}, {o.model}: {o.detail}" for o in failed]
            assert not failed, "\n".join([f"{framework} fails {check}", *text])

    return Conformance


def shipped_environment(framework: str) -> dict[str, str]:
    """The section ``env`` of ``conf/framework/<framework>.yaml``, if there is such a file."""
    import yaml

    from distlab.experiment.config_tree import CONF

    file = CONF / "framework" / f"{framework}.yaml"
    if not file.is_file():
        return {}
    options: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {name: str(value) for name, value in (options.get("env") or {}).items()}


def _result(check: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, check()
    except ConformanceError as error:
        return False, str(error)
