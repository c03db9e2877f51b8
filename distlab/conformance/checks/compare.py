"""How the conformance checks compare arrays, and the error that says what is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlab.fairness.rounding import FP32_LOSSES, loss_errors

Arrays = Mapping[str, NDArray[Any]]

LOSS_SUM = 1e-5
"""Relative; float32 logits leave 1e-6, a sample too many or too few in 1,027 some 1e-3."""
MOVED = 1e-3
"""Of weights in ten steps. Storing weights of 0.1 in float32 costs up to 1e-4 of an update of
1e-3 in some elements, and Adam amplifies what rounding does to gradients near zero."""


class ConformanceError(Exception):
    """What a backend does against the contract, in one line."""


def require(condition: bool, violation: str) -> None:
    """Raise :class:`ConformanceError` unless the condition holds."""
    if not condition:
        raise ConformanceError(violation)


def require_equal(found: Arrays, expected: Arrays, what: str) -> None:
    """Require the same names in the same order, and arrays that are equal bit for bit."""
    require(
        list(found) == list(expected), f"{what}: names {list(found)}, expected {list(expected)}"
    )
    for name in unequal(found, expected):
        require(
            found[name].shape == expected[name].shape,
            f"{what}: {name} has shape {found[name].shape}, expected {expected[name].shape}",
        )
        require(found[name].dtype == np.float32, f"{what}: {name} is {found[name].dtype}")
        unlike = found[name].view(np.uint32) != expected[name].view(np.uint32)
        place = tuple(int(i) for i in np.argwhere(unlike)[0])
        raise ConformanceError(
            f"{what}: {unlike.sum()} of {unlike.size} values of {name} differ, the first at "
            f"{place}: {found[name][place]!r}, expected {expected[name][place]!r}"
        )


def worst(found: Arrays, expected: Arrays) -> tuple[str, float]:
    """The parameter with the largest relative error, and the error; infinite if it is unlike."""
    errors = {
        name: relative(found[name], array)
        if name in found and found[name].shape == array.shape
        else float("inf")
        for name, array in expected.items()
    }
    return max(errors.items(), key=lambda item: item[1])


def moves(weights: Arrays, initial: Arrays) -> dict[str, NDArray[np.float64]]:
    """How far each array is from its initial value, in float64."""
    return {
        name: np.asarray(array, np.float64) - np.asarray(initial[name], np.float64)
        for name, array in weights.items()
    }


def relative(found: Any, expected: Any) -> float:
    """Relative error in the Euclidean norm; infinite instead of not a number."""
    difference = np.asarray(found, np.float64) - expected
    error = np.linalg.norm(difference) / np.linalg.norm(expected)
    return float(error) if np.isfinite(error) else float("inf")


def bits_equal(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether two arrays are equal bit for bit (so that -0.0 is not 0.0)."""
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()


def unequal(found: Arrays, expected: Arrays) -> list[str]:
    """The names whose arrays are not equal bit for bit."""
    return [
        name
        for name, array in expected.items()
        if name not in found or not bits_equal(found[name], array)
    ]


def follows(
    found: Mapping[str, Any],
    losses: NDArray[Any],
    weights: Arrays,
    initial: Arrays,
    whom: str,
) -> str:
    """Require losses and moves of weights to be those of ``whom``.

    Parameters
    ----------
    found:
        ``losses`` and ``weights`` that a rank noted.
    losses, weights:
        Those that it is held against.
    initial:
        The weights that both started from.
    whom:
        Whose they are, for the messages.

    Returns
    -------
    str
        How close they are.

    Raises
    ------
    ConformanceError
        If losses are off by more than the fairness contract's bound for ten of them, or moves by
        more than :data:`MOVED`.
    """
    largest = float(loss_errors(found["losses"], losses).max())
    name, moved = worst(moves(found["weights"], initial), moves(weights, initial))
    require(
        largest <= FP32_LOSSES and moved <= MOVED,
        f"losses off {whom} by {largest:.1e} (bound {FP32_LOSSES:.0e}), moves of {name} by "
        f"{moved:.1e} (bound {MOVED:.0e})",
    )
    return f"losses within {largest:.1e}, weights' moves within {moved:.1e} of {whom}"
