"""What the conformance checks go by: the notes of three ranks and the oracle's answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlab.conformance.checks.compare import ConformanceError
from distlab.conformance.problem import Problem
from distlab.conformance.rank.processes import Witness


@dataclass(frozen=True)
class Evidence:
    """All that is known of one backend, execution and model.

    Attributes
    ----------
    name:
        The framework that the backend should call itself, None if that isn't known.
    solo, pair:
        The ranks of a world of one and of a world of two.
    """

    name: str | None
    problem: Problem
    solo: list[Witness]
    pair: list[Witness]

    @property
    def ranks(self) -> Iterable[tuple[str, Witness]]:
        """All three with a description."""
        yield "1 worker", self.solo[0]
        for witness in self.pair:
            yield f"rank {witness.rank} of 2", witness


def seen(witness: Witness, note: str) -> Any:
    """A note of a rank; raises :class:`ConformanceError` if the rank didn't come so far."""
    if note in witness.notes.get("foreign", {}):
        raise ConformanceError(f"{note}: {witness.notes['foreign'][note]}")
    if note not in witness.notes:
        raise ConformanceError(f"rank {witness.rank} didn't come so far: {witness.why}")
    return witness.notes[note]


def mean_losses(ranks: list[Witness], act: str) -> NDArray[np.float64]:
    """The global batch's losses: shards are of equal size."""
    losses = [seen(witness, act)["losses"].astype(np.float64) for witness in ranks]
    mean: NDArray[np.float64] = np.mean(losses, axis=0)
    return mean


def last_line(text: str) -> str:
    """The last line that isn't blank."""
    return text.strip().splitlines()[-1] if text.strip() else "(blank)"
