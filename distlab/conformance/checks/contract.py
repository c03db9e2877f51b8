"""The conformance checks: pure functions of what the ranks saw and what the oracle computed.

Each returns one line of facts, or raises ``ConformanceError`` with what is wrong. Distances between
arrays are relative errors in the Euclidean norm, parameter by parameter. Weights are compared by
how far they moved: initial weights are a hundred times larger than ten updates, and would hide
them.
"""

from collections.abc import Callable

import numpy as np

from distlab.backends.base import DESCRIPTION, Evaluation, OptimizerState
from distlab.conformance.checks.compare import (
    LOSS_SUM,
    MOVED,
    bits_equal,
    follows,
    relative,
    require,
    require_equal,
    unequal,
    worst,
)
from distlab.conformance.checks.evidence import Evidence, last_line, mean_losses, seen
from distlab.conformance.checks.rebuild import exchange_off, precision, rebuild
from distlab.conformance.problem import HALFWAY, MOMENTS, STEPS, averaged_values
from distlab.fairness.rounding import FP32_FIRST

GRADIENT = 1e-5
"""Float32 sums of up to 30,000 terms; the frameworks come to within 2e-6."""


def weights(evidence: Evidence) -> str:
    """Weights come back bit for bit, float32 and C-contiguous, in the spec's order, as copies."""
    count = 0
    for who, witness in evidence.ranks:
        stored = seen(witness, "stored")["weights"]
        require_equal(stored, evidence.problem.special, f"{who}: weights read back")
        require(not (wrong := seen(witness, "unsound")), f"{who}: {', '.join(wrong)}")
        wrong = seen(witness, "not_copies")
        require(not wrong, f"{who}: training changed arrays handed out before: {wrong}")
        count += sum(array.size for array in stored.values())
    return f"{count:,} values bit-equal, special ones among them"


def gradients(evidence: Evidence) -> str:
    """The first loss and its gradient are the oracle's.

    The gradient is read from Adam's first moment, which after one step is (1 - beta1) times it.
    """
    problem, witness = evidence.problem, evidence.solo[0]
    loss = relative(seen(witness, "parts")["losses"][0], problem.whole.losses[0])
    moment = seen(witness, "first_moment")
    found = {name: array / (1 - problem.program.beta1) for name, array in moment.items()}
    name, error = worst(found, problem.gradients)
    require(loss <= FP32_FIRST, f"first loss off by {loss:.1e} (bound {FP32_FIRST:.0e})")
    require(error <= GRADIENT, f"gradient of {name} off by {error:.1e} (bound {GRADIENT:.0e})")
    return f"loss within {loss:.1e}, gradients within {error:.1e}"


def adam(evidence: Evidence) -> str:
    """Steps lead where the oracle's Adam leads, from the start and from its state at step 5."""
    problem, witness = evidence.problem, evidence.solo[0]
    form = seen(witness, "losses")
    expected_form = [
        ("ndarray", "float32", (steps,)) for steps in (1, HALFWAY - 1, STEPS - HALFWAY)
    ]
    require(form == expected_form, f"losses have types and shapes {form}, not {expected_form}")
    for act, way, start in (
        ("resumed", problem.resumed, problem.halfway),
        ("parts", problem.whole, problem.initial),
    ):
        text = follows(seen(witness, act), way.losses, way.weights, start, "the oracle's")
    halfway, expected = seen(witness, "halfway")["state"], problem.halfway_state
    _require_step(halfway, HALFWAY)
    for moment in MOMENTS:
        name, error = worst(getattr(halfway, moment), getattr(expected, moment))
        require(error <= MOVED, f"{moment} of {name} off by {error:.1e} after {HALFWAY} steps")
    return text


def state(evidence: Evidence) -> str:
    """Optimizer state comes back bit for bit, and training goes on from it, bit for bit.

    From the backend's own state after five steps, in the same object; from a given state, in a
    process that has not trained yet as in one that has.
    """
    for who, witness in evidence.ranks:
        stored, special = seen(witness, "stored")["state"], evidence.problem.special_state
        _require_step(stored, special.step)
        for moment in MOMENTS:
            found, expected = getattr(stored, moment), getattr(special, moment)
            require_equal(found, expected, f"{who}: {moment} read back")
        first, again = seen(witness, "resumed"), seen(witness, "resumed_again")
        require(
            bits_equal(first["losses"], again["losses"])
            and not unequal(first["weights"], again["weights"]),
            f"{who}: the same state leads elsewhere in an object that trained other steps before",
        )
        continued, parts = seen(witness, "continued"), seen(witness, "parts")
        require(
            bits_equal(continued["losses"], parts["losses"][HALFWAY:])
            and not unequal(continued["weights"], parts["weights"]),
            f"{who}: going on from its own state after {HALFWAY} steps leads elsewhere",
        )
    return "bit-equal in and out, and so is what follows, in a fresh process and in a used one"


def spans(evidence: Evidence) -> str:
    """Ten steps in one call lead where calls of 1, 4 and 5 steps lead."""
    texts, initial = [], evidence.problem.initial
    for who, witness in evidence.ranks:
        parts, whole = seen(witness, "parts"), seen(witness, "one_call")
        whom = f"those of calls of 1, 4 and 5 steps ({who})"
        text = follows(whole, parts["losses"], parts["weights"], initial, whom)
        if unequal(whole["weights"], parts["weights"]):
            texts.append(text)
    return texts[-1] if texts else "bit-equal in calls of 1, 4, 5 and of 10 steps"


def workers(evidence: Evidence) -> str:
    """Two workers do at the same global batch what one does."""
    problem = evidence.problem
    own = [seen(witness, "parts")["losses"] for witness in evidence.pair]
    require(not bits_equal(*own), "both ranks return the same losses, so not those of their shards")
    for act, start in (("resumed", problem.halfway), ("parts", problem.initial)):
        pair = {**seen(evidence.pair[0], act), "losses": mean_losses(evidence.pair, act)}
        solo = seen(evidence.solo[0], act)
        text = follows(pair, solo["losses"], solo["weights"], start, "one worker's")
    return text


def replicas(evidence: Evidence) -> str:
    """Both ranks of a pair hold the same weights and optimizer state, bit for bit."""
    first, second = (seen(witness, "parts") for witness in evidence.pair)
    states = (first["state"], second["state"])
    require_equal(second["weights"], first["weights"], "rank 1 against rank 0: weights")
    for moment in MOMENTS:
        expected, found = (getattr(state, moment) for state in states)
        require_equal(found, expected, f"rank 1 against rank 0: {moment}")
    return f"bit-equal after {STEPS} steps"


def evaluation(evidence: Evidence) -> str:
    """Every range of test samples counts each of its samples once, and changes nothing."""
    problem = evidence.problem
    for who, witness in evidence.ranks:
        for (start, stop), found in seen(witness, "evaluations").items():
            part = slice(start, stop)
            correct = int(problem.test_correct[part].sum())
            loss_sum = float(problem.test_losses[part].sum())
            expected = Evaluation(stop - start, correct, loss_sum)
            require(
                (found.samples, found.correct) == (expected.samples, expected.correct)
                and abs(found.loss_sum - loss_sum) <= LOSS_SUM * loss_sum,
                f"{who}: samples {start} to {stop}: {found}, expected {expected}",
            )
        before, after = seen(witness, "before_evaluation"), seen(witness, "after_evaluation")
        for what, arrays in before.items():
            require_equal(after[what], arrays, f"{who}: {what} after evaluation")
    sizes = ", ".join(str(stop - start) for start, stop in problem.ranges)
    return f"ranges of {sizes} samples: counts exact, losses within {LOSS_SUM:.0e}"


def barrier(evidence: Evidence) -> str:
    """Nobody leaves a barrier before everybody has come."""
    times = [seen(witness, "barrier") for witness in evidence.pair]
    early = max(came for came, _ in times) - min(left for _, left in times)
    require(early <= 0, f"a rank left the barrier {early:.2f} s before the other came")
    return "no rank left before the other had come"


def averaging(evidence: Evidence) -> str:
    """An array that is averaged is the ranks' mean, the same bits on each, once and once more."""
    pair = [seen(witness, "averaged") for witness in evidence.pair]
    require((pair[0] is None) == (pair[1] is None), "one of two ranks offers it, the other not")
    if None in pair:
        return "not offered: no exchange is predicted"
    first, second = pair
    mean = np.mean([averaged_values(witness.rank) for witness in evidence.pair], axis=0)
    for who, found in (("rank 0", first), ("rank 1", second)):
        require(not found["changed"], f"{who}: the given array is changed, not a copy of it")
        once = found["once"]
        require(
            once.dtype == np.float32 and once.shape == mean.shape,
            f"{who}: {once.dtype} {once.shape} comes back",
        )
        error = relative(once, mean)
        require(error <= GRADIENT, f"{who}: the mean is off by {error:.1e} (bound {GRADIENT:.0e})")
        require(bits_equal(found["twice"], once), f"{who}: the mean of equal arrays is another")
    require(bits_equal(first["once"], second["once"]), "the ranks hold different means")
    return f"the mean within {error:.1e}, bit-equal on both ranks"


def description(evidence: Evidence) -> str:
    """``describe`` has its keys; threads are those asked for, TF32 is off."""
    text = ""
    for who, witness in evidence.ranks:
        found = seen(witness, "description")
        for key, kind in DESCRIPTION.items():
            value = found.get(key, "missing")
            require(type(value) is kind, f"{who}: {key} is {value!r}, not of type {kind.__name__}")
        asked = witness.threads
        require(found["threads"] == asked, f"{who}: {found['threads']} threads, asked {asked}")
        require(found["inter_op_threads"] == 1, f"{who}: more than 1 inter-op thread")
        require(not found["tf32"], f"{who}: TF32 is on")
        alone = found["collectives"] == "none"
        require(alone == (who == "1 worker"), f"{who}: collectives are {found['collectives']}")
        text = f"{found['framework_version']} on {found['device_name']}, {found['collectives']}"
    name = seen(evidence.solo[0], "framework")
    require(evidence.name in (None, name), f"the backend of {evidence.name} calls itself {name}")
    executions = seen(evidence.solo[0], "executions")
    require(
        bool(executions) and set(executions) <= {"eager", "graph"}, f"executions are {executions}"
    )
    return text


def imports(evidence: Evidence) -> str:
    """Distlab imports no framework by itself, and the backend's module not more than one."""
    found: list[str] = []
    for who, witness in evidence.ranks:
        before = seen(witness, "frameworks_before")
        require(not before, f"{who}: imported before the backend was: {', '.join(before)}")
        found = seen(witness, "frameworks")
        require(len(found) <= 1, f"{who}: imported together: {', '.join(found)}")
    return f"{found[0]} alone, by the backend's module" if found else "none of the known frameworks"


def quiet(evidence: Evidence) -> str:
    """From the first step on a backend prints nothing, from native code neither."""
    before = 0
    for who, witness in evidence.ranks:
        size, before = seen(witness, "printed"), max(before, seen(witness, "printed_before"))
        require(size == 0, f"{who}: printed {size} bytes, the last: {last_line(witness.output)}")
    return f"nothing printed from the first step on ({before} bytes until then)"


def ending(evidence: Evidence) -> str:
    """Every process ends by itself with exit code 0."""
    for who, witness in evidence.ranks:
        require(
            witness.exit_code == 0 and "closed" in witness.notes,
            f"{who}: {witness.why}",
        )
    return "all processes ended by themselves with code 0"


CHECKS: dict[str, Callable[[Evidence], str]] = {
    check.__name__: check
    for check in (
        imports,
        description,
        weights,
        state,
        gradients,
        adam,
        spans,
        workers,
        replicas,
        evaluation,
        barrier,
        averaging,
        rebuild,
        exchange_off,
        precision,
        quiet,
        ending,
    )
}
"""All checks by name, in the order in which to mend them: a fault shows in later ones too."""


def _require_step(state: OptimizerState, step: int) -> None:
    require(state.step == step, f"optimizer_state() is at step {state.step}, expected {step}")
