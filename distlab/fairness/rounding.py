"""How far losses may part from float64's, by the precision of products and convolutions.

``fp32`` has the fairness contract's bounds. The others are for operands (``bf16``: and results) of
every product that are rounded to p significant bits, which errs by at most the unit roundoff
u = 2^-p, relatively (Higham 2002, *Accuracy and Stability of Numerical Algorithms*, 2nd ed.,
theorem 2.2); p is 8 in bfloat16 (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning
Training") and 11 in TensorFloat-32.

In the worst case the roundings of a network add up (Higham 2002, lemma 3.1); they have either sign,
so that the mean loss of a batch is off by far less (Higham and Mary 2019, "A New Approach to
Probabilistic Rounding Error Analysis"). So the bounds are from trials: an emulation in NumPy that
rounds to nearest even, against float64, on ``mnist5k``, at a learning rate of 0.001, 4 to 12 seeds
each. The greatest relative errors were

=======  =====  ==========  ==========  ==========  ==========
model    batch  bf16 first  bf16 ten    tf32 first  tf32 ten
=======  =====  ==========  ==========  ==========  ==========
mlp          8  5.5e-4      9.8e-3      9.8e-5      6.4e-3
mlp         64  2.2e-4      2.2e-3      1.2e-5      1.5e-3
mlp        512  1.1e-4      1.1e-3      8.7e-6      6.6e-4
lenet5       8  1.8e-3      2.6e-2      2.3e-4      2.3e-2
lenet5      64  8.3e-4      4.5e-3      1.8e-4      4.2e-3
lenet5     512  4.7e-4      2.0e-3      5.4e-5      1.1e-3
=======  =====  ==========  ==========  ==========  ==========

and the greatest of ten never below 5.9e-5. Of the first loss the bound is u, at least 2.1 times
the greatest error seen. Ten losses part by more, and hardly by less in TF32: Adam's first updates
are about the learning rate times the gradient's sign, whatever its size, and rounding turns the
sign of gradients near zero; a larger batch averages more of that out. Their bound, 1.5e-2 at a
batch of 64 and with the inverse root of the batch, is at least 1.6 times the greatest error seen
(2.7 times from a batch of 64 on). Gradients of half the batch moved one of ten losses by 6e-3 to
1e-1, more than the bound.

In float32 the first losses were off by some 1e-7, until (in some trials, from the third step on)
a sign turned. So where the first three are all as close as ``fp32`` must be at the first, nothing
was rounded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNIT_ROUNDOFF = {"bf16": 2.0**-8, "tf32": 2.0**-11}
"""Of the formats to which ``bf16`` and ``tf32`` round: half the distance from 1 to the next."""
FP32_FIRST, FP32_LOSSES = 2e-6, 1e-4
"""Of the first loss, some 15 float32 roundings, and of ten."""
ROUNDED_LOSSES, ROUNDED_AT_BATCH = 1.5e-2, 64
TELLING = 3


@dataclass(frozen=True)
class LossBounds:
    """Bounds of relative errors: of the first loss, and of each of the first ten."""

    first: float
    ten: float


def loss_bounds(precision: str, global_batch: int) -> LossBounds:
    """How far the first losses may be from float64's.

    Parameters
    ----------
    precision:
        ``fp32``, ``tf32`` or ``bf16``.
    global_batch:
        Samples of a step over all ranks.
    """
    if precision not in UNIT_ROUNDOFF:
        return LossBounds(FP32_FIRST, FP32_LOSSES)
    first = UNIT_ROUNDOFF[precision]
    ten = ROUNDED_LOSSES * math.sqrt(ROUNDED_AT_BATCH / global_batch)
    return LossBounds(first, max(first, ten))


def loss_errors(
    found: Sequence[float] | NDArray[np.floating], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Relative error of each loss; infinite where one is not a number."""
    errors = np.abs(np.asarray(found, np.float64) - expected) / np.abs(expected)
    return np.nan_to_num(errors, nan=np.inf)


def why_not(
    errors: NDArray[np.float64],
    precision: str,
    global_batch: int,
    allowed: NDArray[np.float64] | None = None,
) -> str | None:
    """Why losses with these errors are not those of the precision; None if they are.

    Where products are to be rounded, the first three losses must show it (see above). ``allowed``
    are bounds of a network's own, one for each loss.
    """
    if allowed is not None:
        over = np.flatnonzero(errors > allowed)
        if over.size:
            first = over[0]
            return f"that of step {first + 1} is off by more than {allowed[first]:.1e}"
        return None
    bounds = loss_bounds(precision, global_batch)
    if errors[0] > bounds.first:
        return f"the first is off by more than {bounds.first:.1e}"
    if errors.max() > bounds.ten:
        return f"one is off by more than {bounds.ten:.1e}"
    if precision in UNIT_ROUNDOFF and errors[:TELLING].max() <= FP32_FIRST:
        return f"the first {TELLING} are within {FP32_FIRST:.0e}: nothing was rounded"
    return None
