"""Conformance checks of what a backend does when it is built again: its second life, and alone.

As in :mod:`distlab.backends.conformance.checks`, each is a pure function of what the ranks saw.
"""

from distlab.backends.conformance.compare import bits_equal, follows, require, unequal
from distlab.backends.conformance.evidence import Evidence, seen


def rebuild(evidence: Evidence) -> str:
    """After a rebuild all is as in a fresh process, bit for bit.

    Right after the first runs, and again after a run with another batch; with the data of the
    first life.
    """
    for who, witness in evidence.ranks:
        parts, first_life = seen(witness, "parts"), seen(witness, "evaluations")
        for note, when in (
            ("rebuilt", "a rebuild"),
            ("rebuilt_again", "a rebuild that followed another program"),
        ):
            again = seen(witness, note)
            require(
                bits_equal(again["losses"], parts["losses"]),
                f"{who}: after {when} the same weights lead to other losses",
            )
            wrong = unequal(again["weights"], parts["weights"])
            require(not wrong, f"{who}: after {when} other weights come out: {', '.join(wrong)}")
            for part, found in again["evaluations"].items():
                require(
                    found == first_life[part],
                    f"{who}: after {when} samples {part[0]} to {part[1]} evaluate to {found}, "
                    f"before to {first_life[part]}",
                )
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
