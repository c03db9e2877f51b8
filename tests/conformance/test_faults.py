"""The suite against backends that are broken on purpose: each fault is caught by its check."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from distlab import conformance
from distlab.conformance.checks import contract
from distlab.conformance.checks.compare import moves, relative
from distlab.conformance.problem import pose
from distlab.fairness import reference

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


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread a process: two of NumPy's would but wait for each other, and so take five times as
    long. That two are obeyed is asked of ``TestNumpy``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(conformance.THREADS, "mlp", {1: 1, 2: 1})
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


def examine(fault: str) -> list[conformance.Outcome]:
    """What the suite says of a broken backend."""
    timeout_s = 20 if fault == "NeverEnds" else 30
    return conformance.examine(f"faulty_backends:{fault}", models=["mlp"], timeout_s=timeout_s)


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
    outcomes = conformance.examine(f"faulty_backends:{fault}", models=["layers"])
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
