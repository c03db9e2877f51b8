"""Whether a run ended where its options say: after all epochs, or at the first reason to stop."""

from distlab.experiment.training import stopping
from distlab.outcome.record import Record

ROUNDED = 1e-6
"""How far, relatively, ranks may round the seconds by which they agree on an end."""


def steps(record: Record) -> int:
    """How many steps the run has to have: those asked for, or fewer if it says that it stopped."""
    asked = _asked(record)
    told = record.stopped in (stopping.AT_TARGET, stopping.SECONDS)
    return min(asked, sum(epoch.steps for epoch in record.epochs)) if told else asked


def fault(record: Record) -> str | None:
    """What is wrong with the run's end, in words; None if nothing is.

    What its ranks told of it is compared with the accuracies and seconds that they told: the run
    must end at the first evaluation that fulfils what was asked for, and at no other.
    """
    options, taken = record.experiment.options, sum(epoch.steps for epoch in record.epochs)
    asked, stop = _asked(record), stopping.of(options)
    whole = options.epochs * _whole(record)
    if taken != steps(record):
        return f"{taken} of {steps(record)} steps"
    if any(epoch.steps != _whole(record) for epoch in record.epochs[:-1]):
        return "an epoch before the last is not whole"
    points, trained = record.points, _seconds(record)
    reasons = [
        stop.reached(point.test_accuracy, seconds * (1 - ROUNDED))
        for point, seconds in zip(points, trained, strict=True)
    ]
    early = [n for n, why in enumerate(reasons[:-1], 1) if why is not None]
    if early:
        return f"it went on after evaluation {early[0]}, which was to end it"
    if record.stopped in (stopping.AT_TARGET, stopping.SECONDS):
        last = points[-1].test_accuracy, trained[-1] * (1 + ROUNDED)
        if stop.reached(*last) != record.stopped:
            return f"it stopped by stop.{record.stopped}, which was not fulfilled"
    elif (record.stopped == stopping.STEPS) != (asked < whole):
        return f"it says that it stopped by {record.stopped}, after {taken} of {whole} steps"
    return None


def _whole(record: Record) -> int:
    """Steps of a whole epoch."""
    return len(record.dataset.train_labels) // record.experiment.global_batch


def _asked(record: Record) -> int:
    """The steps of all epochs, or ``stop.steps``."""
    options = record.experiment.options
    return stopping.of(options).most(options.epochs * _whole(record))


def _seconds(record: Record) -> list[float]:
    """How long rank 0, by whose clock runs stop, had trained at each evaluation."""
    found, before = [], 0.0
    for parts in record.windows:
        found += [before + one.seconds for one in parts[0].inner]
        before += parts[0].window.seconds
        found.append(before)
    return found
