"""The fairness contract, checked on one finished run (see docs/fairness.md).

Each check compares what the ranks reported with what the driver computes by itself: the weights
drawn from the seed, the order of samples, and the losses of an independent NumPy reference.
"""

import math

import numpy as np
from threadpoolctl import threadpool_limits

from distlab.data.dataset import normalize
from distlab.data.order import digest, epoch_order
from distlab.experiment.options import Precision
from distlab.fairness import reference, stopping
from distlab.fairness.check import Check
from distlab.fairness.rounding import UNIT_ROUNDOFF
from distlab.fairness.trajectory import trajectory
from distlab.measure.clock import part_lengths, span_lengths
from distlab.models.weights import draw, fingerprint
from distlab.outcome.events import Ready
from distlab.outcome.record import Record

PART = 250 * 28 * 28
"""Values of the images that are evaluated at a time, which bounds the memory."""
MARGIN = 1e-3
LOSS_TOLERANCE_PER_SAMPLE = 1e-6
UPDATE_TOLERANCE = 1e-3
# Where evaluation is rounded to TF32. Of trained weights (20 epochs of mnist5k, 3 seeds, both
# models, emulated in NumPy) logits were off by at most 1.3 u of the largest one, so that two of
# them may change places within 2.6 u, and the mean loss was off by at most 3.8e-5.
TF32_MARGIN = 8 * UNIT_ROUNDOFF["tf32"]
TF32_LOSS_TOLERANCE_PER_SAMPLE = 5e-4

ALIKE = {
    "framework_version": "framework",
    "device_name": "device",
    "python_version": "Python",
    "numpy_version": "NumPy",
    "distlab_version": "distlab",
    "distlab_code": "distlab's code",
    "nice": "niceness",
}
"""What is the same on all ranks: by its field in their resources."""


def run_all(record: Record) -> dict[str, Check]:
    """Check a run whose ranks have all finished; keys are the contract's points."""
    checks = (
        *(weights, samples, replicas, evaluation, recount),
        *(optimizer, arithmetic, resources, clock, trajectory),
    )
    # The reference's products are small: threads take longer to meet than to multiply.
    with threadpool_limits(1, user_api="blas"):
        return {check.__name__: check(record) for check in checks}


def weights(record: Record) -> Check:
    """1: every rank's initial weights, read back from its framework, are those of the seed."""
    expected = fingerprint(draw(record.experiment.spec, record.experiment.run_seed))
    told = _told(record)
    wrong = [ready.rank for ready in told if ready.weights_sha256 != expected]
    complete = all(stretch.whole for stretch in record.trained)
    return Check(
        complete and not wrong,
        f"ranks {wrong} hold other weights than {expected[:12]}"
        if wrong
        else f"{len(told)} ranks hold {expected[:12]}",
    )


def samples(record: Record) -> Check:
    """2: the ranks consumed the seed's global batches, each sample at most once an epoch."""
    options = record.experiment.options
    total = len(record.dataset.train_labels)
    left = stopping.steps(record)
    orders = []
    for epoch in range(options.epochs):
        order = epoch_order(
            record.experiment.run_seed, epoch, total, record.experiment.global_batch
        )
        orders.append(order[:left])
        left -= len(orders[-1])
        if not left:
            break
    expected = digest(orders)
    once = all(np.bincount(order.ravel()).max() == 1 for order in orders)
    return Check(
        record.samples_sha256 == expected and once,
        f"consumed {record.samples_sha256[:12]}, the seed's order is {expected[:12]}",
    )


def replicas(record: Record) -> Check:
    """2: all ranks end with the same weights, bit for bit, so every gradient was exchanged."""
    found = {finished.weights_sha256 for finished in record.finished.values()}
    complete = len(record.finished) == record.stretches[-1].world_size
    return Check(
        complete and len(found) == 1,
        f"{len(record.finished)} ranks end with {len(found)} different sets of weights",
    )


def evaluation(record: Record) -> Check:
    """2: each evaluation covered the test set exactly once."""
    expected = len(record.dataset.test_labels)
    found = sorted({point.evaluated for point in record.points})
    return Check(found == [expected], f"evaluated {found} of {expected} test samples")


def recount(record: Record) -> Check:
    """2: NumPy finds the same correct samples and the same loss with the final weights.

    The two round differently, so a sample whose two largest logits are closer than 1e-3 may fall
    either way; the losses may differ by 1e-6 for each sample, or of themselves where they are above
    1, for float32 rounds relatively. With ``tf32`` the framework's
    evaluation is rounded, too: the two logits may be closer than 8 units of TF32's roundoff of the
    largest logit, and the losses may differ by 5e-4 for each sample. With ``bf16`` evaluation is
    float32.
    """
    if record.final_weights is None or not record.epochs:
        return Check(False, "there are no final weights")
    images, labels = record.dataset.test_images, record.dataset.test_labels
    logits = np.concatenate(
        [
            reference.logits(
                record.experiment.spec, record.final_weights, normalize(part), np.float32
            )
            for part in np.array_split(images, max(1, images.size // PART))
        ]
    ).astype(np.float64)
    second, first = np.partition(logits, -2, axis=1)[:, -2:].T
    correct = int((logits.argmax(axis=1) == labels).sum())
    loss = float(reference.cross_entropies(logits, labels).sum())
    margin, tolerance = MARGIN, LOSS_TOLERANCE_PER_SAMPLE * max(len(labels), loss)
    if record.experiment.options.precision is Precision.tf32:
        margin += TF32_MARGIN * float(np.abs(logits).max())
        tolerance = TF32_LOSS_TOLERANCE_PER_SAMPLE * len(labels)
    undecided = int((first - second < margin).sum())
    last = record.epochs[-1]
    reported = round(last.test_accuracy * last.evaluated)
    reported_loss = last.test_loss * last.evaluated
    same_loss = bool(abs(loss - reported_loss) <= tolerance)
    return Check(
        abs(correct - reported) <= undecided and same_loss,
        f"{reported} correct and a loss of {reported_loss:.4f} by the framework, "
        f"{correct} and {loss:.4f} by NumPy ({undecided} undecided)",
    )


def optimizer(record: Record) -> Check:
    """3: the optimizer is the contract's: asked for, and seen in each rank's first update.

    The update may be off by the rounding of float32 weights (a few units in the last place of the
    largest weight, which is below 1) and of the division. SGD without momentum has no state to
    tell the gradient by; of its update the trajectory tells alone.
    """
    options, program = record.experiment.options, record.experiment.program
    rounding = 4 * float(np.finfo(np.float32).eps) / program.learning_rate
    told = [ready.optimizer_error for ready in _told(record)]
    asked = options.optimizer.variant == "reference"
    name = f"{program.rule}, optimizer.variant={options.optimizer.variant}"
    if not program.moments:
        return Check(asked and bool(told), f"{name}, whose updates the trajectory tells")
    errors = [math.inf if error is None else error for error in told]
    error = max(errors, default=math.inf)
    return Check(
        asked and error <= UPDATE_TOLERANCE + rounding,
        f"{name}, first update off by at most {error:.1e} learning rates",
    )


def arithmetic(record: Record) -> Check:
    """4: float32 products are rounded to TF32 on all ranks if ``tf32`` was asked for, else on none.

    What ``bf16`` rounds shows in the trajectory.
    """
    precision = record.experiment.options.precision
    asked = precision is Precision.tf32
    wrong = [one.rank for one in _told(record) if bool(one.resources["tf32"]) != asked]
    if wrong:
        return Check(
            False, f"precision={precision}, TF32 {'off' if asked else 'on'} on ranks {wrong}"
        )
    return Check(True, f"precision={precision}, TF32 {'on' if asked else 'off'} on all ranks")


def resources(record: Record) -> Check:
    """5: every rank has the threads that were asked for and cores for them, and all are alike.

    They have the same software, device and niceness. A rank whose host lets it use fewer cores than
    it has threads is no fault of this kind, and told as a caveat (:mod:`distlab.outcome.caveats`);
    one that was bound to fewer than it may use is.
    """
    asked = record.experiment.options.threads_per_worker
    told = [(ready.rank, ready.resources) for ready in _told(record)]
    found = sorted({one["threads"] for _, one in told})
    faults = [host.bound for host in record.hosts if host.bound is not None]
    if found != [asked]:
        faults.append(f"threads {found} (asked {asked})")
    for field, name in ALIKE.items():
        values = [(rank, one.get(field)) for rank, one in told]
        if len({value for _, value in values}) > 1:
            each = ", ".join(f"{value} on rank {rank}" for rank, value in dict.fromkeys(values))
            faults.append(f"{name} differs: {each}")
    if faults or not told:
        return Check(False, "; ".join(faults) or "no rank told what it has")
    _, one = told[0]
    alike = ", ".join(f"{name} {one[field]}" for field, name in ALIKE.items() if field in one)
    return Check(True, f"threads {found} (asked {asked}); {alike}")


def clock(record: Record) -> Check:
    """6: every rank timed every step of every epoch, in windows that hold their spans.

    A run that was to end earlier ended at the first evaluation that says so
    (:mod:`distlab.fairness.stopping`).
    """
    steps = len(record.dataset.train_labels) // record.experiment.global_batch
    every = record.experiment.options.evaluate.every
    parts = [part for by_rank in record.windows for part in by_rank.values()]
    flops_per_step = record.experiment.spec.training_flops * record.experiment.global_batch
    whole = all(
        [n for n, _ in part.window.spans]
        == [
            span
            for length in part_lengths(epoch.steps, every)
            for span in span_lengths(
                length, flops_per_step // len(by_rank), record.experiment.device
            )
        ]
        for epoch, by_rank in zip(record.epochs, record.windows, strict=True)
        for part in by_rank.values()
    )
    held = all(
        0 < sum(seconds for _, seconds in part.window.spans) <= part.window.seconds
        for part in parts
    )
    expected = sum(one.world_size * len(one.windows) for one in record.trained)
    fault = stopping.fault(record) if record.epochs else "no epoch"
    skew = max(
        (
            max(part.window.seconds for part in by_rank.values())
            / min(part.window.seconds for part in by_rank.values())
            for by_rank in record.windows
        ),
        default=float("nan"),
    )
    return Check(
        whole and held and fault is None and len(parts) == expected,
        f"{len(parts)} windows of {steps} steps; slowest over fastest rank at most {skew:.3f}"
        f"{_ended(record)}{f'; {fault}' if fault else ''}",
    )


def _ended(record: Record) -> str:
    """Where the run stopped, if it did so before its epochs were over."""
    if record.stopped is None:
        return ""
    taken = sum(epoch.steps for epoch in record.epochs)
    return f"; stopped after step {taken} (stop.{record.stopped})"


def _told(record: Record) -> list[Ready]:
    """What all ranks told that trained a part of the run, those before a failure among them."""
    return [ready for one in record.trained for _, ready in sorted(one.ready.items())]
