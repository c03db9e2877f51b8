"""Every shipped backend against the contract, and the suite against backends broken on purpose."""

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from distlab import conformance
from distlab.conformance.checks import contract
from distlab.conformance.checks.compare import moves, relative
from distlab.conformance.problem import PROGRAMS, pose
from distlab.fairness import reference

TestNumpy = pytest.mark.slow(conformance.suite("numpy_sockets:NumpyBackend"))


def shipped(framework: str, package: str, compiles_layers: bool = True) -> type:
    missing = pytest.mark.skipif(
        find_spec(package) is None,
        reason=f"NOT CHECKED AGAINST THE CONTRACT: framework={framework}, because {package} is "
        f'not installed: pip install "distlab[{framework}]"',
    )
    return pytest.mark.slow(missing(conformance.suite(framework, compiles_layers=compiles_layers)))


@pytest.fixture(scope="module", autouse=True)
def odd_shell() -> Iterator[None]:
    """A user's environment, of which nothing may reach the ranks: TensorFlow's would wait for ever.

    (Nothing listens on port 9.)
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("grpc_proxy", "http://127.0.0.1:9")
        patch.setenv("OMP_PROC_BIND", "true")
        yield


@pytest.fixture(scope="module")
def torch_steps() -> None:
    """torch's steps, compiled before they are needed; where that fails, the suite tells."""
    script = Path(__file__).with_name("torch_steps.py")
    with ExitStack() as begun:
        for model in PROGRAMS:
            worlds = conformance.THREADS[model]
            for threads in set(worlds.values()):
                command = [sys.executable, script, model, str(threads)]
                begun.enter_context(subprocess.Popen(command))


TestTorch = pytest.mark.usefixtures("torch_steps")(shipped("torch", "torch", False))
TestTensorFlow = shipped("tf", "tensorflow")
TestPaddle = shipped("paddle", "paddle")

# Each fault and the checks that fail, the one that names it first; no others may.
FAULTS = {
    "TwoFrameworksImported": ["imports"],
    "Tf32ClaimedOn": ["description"],
    "ThreadsNotObeyed": ["description"],
    "VersionOfAnAlienType": ["description"],
    "TransposedIn": ["weights", "state", "gradients", "adam", "evaluation", "precision"],
    "NegativeZeroLost": ["weights"],
    "HandsOutItsOwnArrays": ["weights", "state", "exchange_off"],
    "StateNotRestored": ["state", "adam", "spans", "rebuild", "exchange_off", "precision"],
    "MomentsNotRestored": ["state", "adam"],
    "TransposedInAndOut": ["gradients", "adam", "evaluation", "precision"],
    "SamplesShiftedByOne": ["gradients", "adam", "precision"],
    "LossAfterTheUpdate": ["gradients", "adam", "precision"],
    "BetasOfItsOwn": ["gradients", "adam", "precision"],
    "EpsilonHat": ["adam", "precision"],
    "StepsShiftedByOne": ["adam", "spans", "precision"],
    "FirstStepOfASpanLost": ["spans"],
    "GradientOfRank1Dropped": ["workers", "averaging", "precision"],
    "GradientsSummed": ["workers", "averaging", "precision"],
    "GradientsNotExchanged": ["workers", "replicas", "averaging", "precision"],
    "PaddedSampleCounted": ["evaluation", "precision"],
    "MomentsOfTheOldModel": ["rebuild", "exchange_off", "precision"],
    "EvaluatesTheOldModel": ["rebuild", "precision"],
    "DataConvertedAgain": ["rebuild", "exchange_off", "precision"],
    "BatchOfTheOldProgram": ["exchange_off"],
    "ExchangesAlways": ["exchange_off"],
    "ExchangesAndThrowsAway": ["exchange_off"],
    "PrecisionIgnored": ["precision"],
    "PrecisionKept": ["precision"],
    "EvaluatesRounded": ["precision"],
    "WeightsKeptRounded": ["precision"],
    "Tf32WithBf16": ["precision"],
    "PrecisionOfItsOwn": ["precision"],
    "BarrierThatDoesNotWait": ["barrier"],
    "AveragesInPlace": ["averaging"],
    "AveragesNothing": ["averaging"],
    "Talkative": ["quiet"],
}


# Their processes wait, for 10 s and more, and compute next to nothing meanwhile.
WAITING = ("ExchangesAlways", "ExchangesAndThrowsAway", "NeverEnds")


def examine(fault: str) -> list[conformance.Outcome]:
    """What the suite says of a broken backend."""
    timeout_s = 20 if fault == "NeverEnds" else 30
    # Threads of NumPy's own would only wait for each other: products of this size are small.
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}
    return conformance.examine(
        f"faulty_backends:{fault}", models=["mlp"], env=one_thread, timeout_s=timeout_s
    )


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[list[conformance.Outcome]]]]:
    """The examinations that wait, one after the other beside those of other faults."""
    asked = {item.name for item in request.session.items if item.path == request.path}
    tests = {fault: f"test_fault_is_caught_by_its_check[{fault}]" for fault in WAITING}
    tests["NeverEnds"] = "test_process_that_never_ends_is_killed_and_told"
    with ThreadPoolExecutor(1) as pool:
        yield {fault: pool.submit(examine, fault) for fault in WAITING if tests[fault] in asked}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_caught_by_its_check(
    fault: str, begun: dict[str, Future[list[conformance.Outcome]]]
) -> None:
    outcomes = begun[fault].result() if fault in begun else examine(fault)
    assert [o.check for o in outcomes if not o.passed] == FAULTS[fault], outcomes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("RatesIgnored", "adam, 1 worker: losses off"),
        ("DecaysTheGradient", "adamw, 1 worker: losses off"),
        ("LooksNowhere", "Nesterov's momentum, 1 worker: losses off"),
        ("VelocityForNothing", "sgd, 1 worker: first_moment of .* expected of nothing"),
        ("RunningStatisticsOfItsOwn", "rank 1 against rank 0: .* batch_norm"),
        ("VarianceOfASample", "batch_norm.*(variance|evaluation after)"),
        ("GeluByTanh", "gelu, 1 worker"),
        ("RefusesGroups", "refuses conv in groups: it knows no groups"),
    ],
)
def test_a_layer_or_optimizer_that_computes_something_else_is_caught(fault: str, told: str) -> None:
    outcomes = conformance.examine(
        f"faulty_backends:{fault}", models=["layers"], env={"OPENBLAS_NUM_THREADS": "1"}
    )
    (failed,) = [outcome for outcome in outcomes if not outcome.passed]
    assert re.search(told, failed.detail), failed.detail


@pytest.mark.slow
def test_process_that_never_ends_is_killed_and_told(
    begun: dict[str, Future[list[conformance.Outcome]]],
) -> None:
    outcomes = begun["NeverEnds"].result()
    failed = {o.check: o.detail for o in outcomes if not o.passed}
    assert failed == {"ending": "1 worker: the process had to be killed"}


@pytest.mark.slow
def test_crashing_rank_is_told_with_its_last_words() -> None:
    outcomes = conformance.examine("faulty_backends:Crashes", models=["mlp"], timeout_s=30)
    detail = {o.check: o.detail for o in outcomes if not o.passed}
    assert set(detail) == {
        "evaluation",
        "barrier",
        "averaging",
        "rebuild",
        "exchange_off",
        "precision",
        "quiet",
        "ending",
    }
    assert all("RuntimeError: no evaluation today" in text for text in detail.values())


@pytest.mark.slow
def test_unknown_framework_fails_every_check_and_says_why() -> None:
    outcomes = conformance.examine("fortran", models=["mlp"], timeout_s=30)
    assert not any(o.passed for o in outcomes)
    assert all("asked: framework=fortran" in o.detail for o in outcomes)


@pytest.mark.slow
def test_command_line_exits_with_1_and_names_the_failed_check() -> None:
    command = [sys.executable, "-m", "distlab.conformance"]
    result = subprocess.run(
        [*command, "faulty_backends:Tf32ClaimedOn", "--model", "mlp"],
        cwd=Path(__file__).parent / "backends",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1, result.stderr
    failed = [line for line in result.stdout.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert "description" in failed[0]
    assert "16 passed, 1 failed" in result.stdout


def test_epsilon_in_the_wrong_place_moves_weights_far_beyond_the_bound() -> None:
    problem = pose("mlp")
    program, weights = problem.program, dict(problem.initial)
    adam = reference.Adam(program.learning_rate, program.beta1, program.beta2, program.epsilon)
    for batch in problem.order:
        images, labels = (array[batch] for array in problem.train)
        _, gradients = reference.loss_and_gradients(problem.spec, weights, images, labels)
        # The paper's epsilon hat is an epsilon that shrinks: epsilon_t = hat / sqrt(1 - beta2^t).
        adam.epsilon = program.epsilon / (1 - program.beta2 ** (adam.t + 1)) ** 0.5
        weights = adam.step(weights, gradients)
    expected = moves(problem.whole.weights, problem.initial)
    for name, moved in moves(weights, problem.initial).items():
        assert relative(moved, expected[name]) > 100 * contract.MOVED, name


@pytest.mark.slow
def test_driver_imports_no_framework_and_no_backend() -> None:
    """All of distlab but the backends' own folders, as the driver sees it."""
    program = """
import pathlib, sys, distlab, distlab.backends
from distlab.backends import registry
root = pathlib.Path(distlab.__file__).parent
files = [file.relative_to(root.parent).with_suffix("") for file in root.rglob("*.py")]
names = [".".join(file.parts).removesuffix(".__init__") for file in files]
backends = tuple(e.module.rpartition(".")[0] + "." for e in registry.available().values())
for name in names:
    if not name.startswith(backends) and not name.endswith("__main__"):
        __import__(name)
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded & {"torch", "tensorflow", "keras", "paddle", "jax"}))
print(*sorted(name for name in sys.modules if name.startswith(backends)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
