"""Conformance checks of what a backend does when it is built again: its second life, and alone.

As in :mod:`distlab.conformance.checks.contract`, each is a pure function of what the ranks saw.
"""

import numpy as np
from numpy.typing import NDArray

from distlab.conformance.checks.compare import (
    LOSS_SUM,
    bits_equal,
    follows,
    require,
    require_equal,
    unequal,
)
from distlab.conformance.checks.evidence import Evidence, seen
from distlab.conformance.problem import GLOBAL_BATCH
from distlab.conformance.rank.processes import Witness
from distlab.fairness.rounding import loss_errors, why_not

PRECISIONS = {"fp32", "tf32", "bf16"}


def rebuild(evidence: Evidence) -> str:
    """After a rebuild all is as in a fresh process, bit for bit.

    Right after the first runs, and again after a run with another batch; with the data of the
    first life.
    """
    for who, witness in evidence.ranks:
        for note, when in (
            ("rebuilt", "a rebuild"),
            ("rebuilt_again", "a rebuild that followed another program"),
        ):
            _require_as_before(witness, note, f"{who}: after {when}")
    return "bit-equal after two rebuilds, one of them after another batch"


def exchange_off(evidence: Evidence) -> str:
    """With ``exchange`` False each rank of two trains as if it were alone on its own shard.

    Nor may ``train`` communicate what it then throws away: rank 0 must end a step that rank 1 has
    not begun.
    """
    solo, initial = evidence.solo[0], evidence.problem.initial
    expected, found = seen(solo, "one_call"), seen(solo, "unexchanged")
    require(
        bits_equal(found["losses"], expected["losses"])
        and not unequal(found["weights"], expected["weights"]),
        "1 worker: exchange=False changes what a single rank computes",
    )
    text = ""
    for alone, witness in zip(seen(solo, "halves"), evidence.pair, strict=True):
        whom = f"one worker's on the shard of rank {witness.rank}"
        found = seen(witness, "unexchanged")
        text = follows(found, alone["losses"], alone["weights"], initial, whom)
    (_, ended), (begun, _) = (seen(witness, "stepping") for witness in evidence.pair)
    require(
        ended <= begun, "train communicates: rank 0 could not end a step before rank 1 began it"
    )
    return text


def precision(evidence: Evidence) -> str:
    """Each precision that a CPU may have rounds as much as it should, and leaves no trace.

    The global batch's losses are within the precision's bounds of the oracle's, and not those of
    ``fp32``; ranks hold the same weights, in float32; evaluation is float32; TF32 is off; and the
    first program, built again, does bit for bit what it did before. ``tf32`` needs a GPU, which is
    not here.
    """
    names = seen(evidence.solo[0], "precisions")
    require(
        "fp32" in names and set(names) <= PRECISIONS, f"precisions are {names}, of {PRECISIONS}"
    )
    rounded = list(seen(evidence.solo[0], "rounded"))
    texts = []
    for name in rounded:
        for who, ranks in (("1 worker", evidence.solo), ("2 workers", evidence.pair)):
            if ranks:
                texts.append(_require_rounded(evidence, ranks, name, f"{who}, {name}"))
    if rounded:
        for who, witness in evidence.ranks:
            when = f"{who}: after {' and '.join(rounded)} and a rebuild to fp32"
            _require_as_before(witness, "unrounded", when)
    elsewhere = [f"{name} not looked at" for name in names if name not in ("fp32", *rounded)]
    return "; ".join([*texts, *elsewhere]) or "fp32 alone"


def _require_rounded(evidence: Evidence, ranks: list[Witness], name: str, who: str) -> str:
    """One world's losses, weights and evaluation in one precision; returns how close they are."""
    found = [seen(witness, "rounded")[name] for witness in ranks]
    plain = [seen(witness, "parts") for witness in ranks]
    require(
        not all(bits_equal(f["losses"], p["losses"]) for f, p in zip(found, plain, strict=True)),
        f"{who}: the losses are those of fp32, so the precision is ignored",
    )
    losses = np.mean([one["losses"].astype(np.float64) for one in found], axis=0)
    errors = loss_errors(losses, evidence.problem.whole.losses)
    wrong = why_not(errors, name, GLOBAL_BATCH)
    require(wrong is None, f"{who}: of the losses {wrong} ({_listed(errors)})")
    for one in found[1:]:
        require_equal(one["weights"], found[0]["weights"], f"{who}: rank 1 against rank 0: weights")
    short = [n for n, array in found[0]["weights"].items() if not (array.view("u4") & 0xFFFF).any()]
    require(not short, f"{who}: weights are kept in bfloat16: {', '.join(short)}")
    for witness, one in zip(ranks, found, strict=True):
        before = witness.notes.get("description", {}).get("tf32", one["tf32"])
        require(one["tf32"] == before, f"{who}: TF32 is no longer as in fp32")
    correct = int(evidence.problem.test_correct.sum())
    loss_sum = float(evidence.problem.test_losses.sum())
    for evaluated in (one["evaluation"] for one in found):
        require(
            evaluated.correct == correct
            and abs(evaluated.loss_sum - loss_sum) <= LOSS_SUM * loss_sum,
            f"{who}: evaluation is not float32: {evaluated}, expected {correct} correct and a sum "
            f"of losses of {loss_sum:.6g}",
        )
    return f"{who}: losses off by {errors[0]:.1e} at first, {errors.max():.1e} at most"


def _listed(errors: NDArray[np.float64]) -> str:
    return " ".join(f"{error:.0e}" for error in errors)


def _require_as_before(witness: Witness, note: str, when: str) -> None:
    """Losses, weights and evaluation of a rebuilt program are those of its first life."""
    parts, first_life = seen(witness, "parts"), seen(witness, "evaluations")
    again = seen(witness, note)
    require(
        bits_equal(again["losses"], parts["losses"]),
        f"{when} the same weights lead to other losses",
    )
    wrong = unequal(again["weights"], parts["weights"])
    require(not wrong, f"{when} other weights come out: {', '.join(wrong)}")
    for part, found in again["evaluations"].items():
        require(
            found == first_life[part],
            f"{when} samples {part[0]} to {part[1]} evaluate to {found}, before to "
            f"{first_life[part]}",
        )
