"""When a run ends before its epochs are over, and when it is evaluated.

Both are so at evaluations alone (after each epoch, or every ``evaluate.every`` steps), which lie
outside the clock; but for ``stop.steps``, which is known beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distlab.errors import DistlabError
from distlab.experiment.options import Options

AT_TARGET, SECONDS, STEPS = "at_target", "seconds", "steps"
"""The options of the section ``stop``, which stand for the reason in records."""


@dataclass(frozen=True)
class Stop:
    """What ends a run before its epochs are over: the first of these that comes true.

    Attributes
    ----------
    accuracy:
        Share of the test samples that are classified rightly, or more.
    seconds:
        Seconds of training, evaluation not counted, or more.
    steps:
        Optimizer steps.
    """

    accuracy: float | None = None
    seconds: float | None = None
    steps: int | None = None

    @property
    def depends(self) -> bool:
        """Whether what comes out of an evaluation decides."""
        return self.accuracy is not None or self.seconds is not None

    def reached(self, accuracy: float, seconds: float) -> str | None:
        """What an evaluation fulfils, after so many seconds of training; None if nothing."""
        if self.accuracy is not None and accuracy >= self.accuracy:
            return AT_TARGET
        return SECONDS if self.seconds is not None and seconds >= self.seconds else None

    def most(self, steps: int) -> int:
        """How many steps a run takes at most whose epochs have so many."""
        return steps if self.steps is None else min(steps, self.steps)


def of(options: Options) -> Stop:
    """What options say of it."""
    stop = options.stop
    accuracy = options.target_accuracy if stop.at_target else None
    return Stop(accuracy, stop.seconds, stop.steps)


def check(options: Options) -> None:
    """Refuse what no run could mean.

    Raises
    ------
    DistlabError
        Naming the option, its value and what would work.
    """
    every, stop = options.evaluate.every, options.stop
    rules = [
        (
            every is None or every >= 1,
            f"evaluate.every={every}",
            "steps from one evaluation to the next count from 1; null is once an epoch",
            "evaluate.every=100",
        ),
        (
            stop.seconds is None or 0 < stop.seconds < float("inf"),
            f"stop.seconds={stop.seconds}",
            "seconds of training are a positive number, or null",
            "stop.seconds=60",
        ),
        (
            stop.steps is None or stop.steps >= 1,
            f"stop.steps={stop.steps}",
            "steps count from 1; null is no bound but epochs",
            "stop.steps=1000",
        ),
        (
            not stop.at_target or options.data.name != "synthetic",
            "stop.at_target=true with data=synthetic",
            "its images are noise, of which no accuracy is told",
            "stop.at_target=false stop.seconds=60",
        ),
    ]
    for holds, asked, found, fix in rules:
        if not holds:
            raise DistlabError(asked, found, fix)


def fits(options: Options, steps_per_epoch: int) -> None:
    """Refuse evaluations that are rarer than one an epoch, of which there is one anyway.

    Raises
    ------
    DistlabError
        If an epoch has fewer steps.
    """
    every = options.evaluate.every
    if every is not None and every > steps_per_epoch:
        raise DistlabError(
            f"evaluate.every={every}",
            f"an epoch has {steps_per_epoch} steps here, after which there is an evaluation anyway",
            f"evaluate.every={max(1, steps_per_epoch // 4)}",
        )


def told(options: Options) -> str:
    """The length of a run in words: ``10 epochs``, ``at most 10 epochs (until 97.0%)``."""
    epochs = f"{options.epochs} epoch{'s' * (options.epochs != 1)}"
    return bounded(
        epochs,
        options.target_accuracy if options.stop.at_target else None,
        options.stop.seconds,
        options.stop.steps,
    )


def bounded(epochs: str, accuracy: Any, seconds: Any, steps: Any) -> str:
    """A number of epochs with what ends them earlier; each of that is None if it does not."""
    ends = [] if accuracy is None else [f"until {float(accuracy):.1%}"]
    ends += [] if seconds is None else [f"{float(seconds):g} s of training"]
    ends += [] if steps is None else [f"{steps} step{'s' * (str(steps) != '1')}"]
    return f"at most {epochs} ({' or '.join(ends)})" if ends else epochs


def passed(summary: Mapping[str, Any]) -> str:
    """How many epochs a run took, as people are told: ``10``, ``3.5 of 10 (stop.at_target)``."""
    asked, why = str(summary["epochs"]), summary.get("stopped")
    if why is None:
        return asked
    share = summary["steps"] / summary["steps_per_epoch"]
    return f"{share:.3g} of {asked} (stop.{why})"
