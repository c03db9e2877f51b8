"""The learning rate of every step, in float64, made once for all frameworks.

So no framework's scheduler has a part in it. With ``base`` the rate of the options times what
``rate.by_workers`` makes of it, s the step from 0, w the steps of the warm-up and S those of the
run:

- in the warm-up ``base (s + 1) / w`` (the gradual one of Goyal et al. 2017, "Accurate, Large
  Minibatch SGD", section 2.2, which begins at the rate of one worker);
- then ``constant``: ``base``; ``cosine``: ``base (1 + cos(pi (s - w) / (S - w))) / 2`` (Loshchilov
  & Hutter 2017, "SGDR", equation 5, without restarts, down to 0); ``step``: ``base`` times
  ``rate.drop_factor`` for each of ``rate.drop_epochs`` that are over.

``rate.by_workers``: with k times the batch of one worker, ``linear`` makes the rate k times as
large (Goyal et al. 2017, section 2.1), ``sqrt`` the root of k times (Krizhevsky 2014, "One weird
trick for parallelizing convolutional neural networks", section 5), ``none`` leaves it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from distlab.errors import DistlabError
from distlab.experiment.options import ByWorkers, Options, RateSchedule, Scaling

USUAL_DROPS = "rate.drop_epochs=[5,8]"


def base(options: Options, workers: int) -> float:
    """The greatest learning rate of a run on so many workers."""
    times = workers if options.scaling is Scaling.weak else 1
    by = options.rate.by_workers
    if by is ByWorkers.none:
        return options.learning_rate
    return options.learning_rate * (times if by is ByWorkers.linear else math.sqrt(times))


def made(options: Options, workers: int, steps_per_epoch: int) -> NDArray[np.float64]:
    """The learning rate of each step of a run: ``[epochs * steps_per_epoch]``.

    Raises
    ------
    DistlabError
        If the warm-up is longer than the run.
    """
    rate, steps = options.rate, options.epochs * steps_per_epoch
    warm, highest = rate.warmup_steps, base(options, workers)
    if warm > steps:
        raise DistlabError(
            f"rate.warmup_steps={warm}",
            f"the run takes {steps} steps ({options.epochs} of {steps_per_epoch}), and would end "
            "before its warm-up",
            f"rate.warmup_steps={steps // 10}",
        )
    rates = np.full(steps, highest)
    if rate.schedule is RateSchedule.cosine:
        left = max(1, steps - warm)
        for step in range(warm, steps):
            rates[step] = highest * (1 + math.cos(math.pi * (step - warm) / left)) / 2
    for epoch in rate.drop_epochs:
        rates[epoch * steps_per_epoch :] *= rate.drop_factor
    rates[:warm] = [highest * (step + 1) / warm for step in range(warm)]
    return rates


def check(options: Options) -> None:
    """Refuse what no schedule means.

    Raises
    ------
    DistlabError
        Naming the option, its value and what would work.
    """
    rate = options.rate
    drops = list(rate.drop_epochs)
    asked = f"rate.drop_epochs=[{','.join(map(str, drops))}]"
    stepwise = rate.schedule is RateSchedule.step
    rules = [
        (
            rate.warmup_steps >= 0,
            f"rate.warmup_steps={rate.warmup_steps}",
            "steps count from 0, which is no warm-up",
            "rate.warmup_steps=100",
        ),
        (
            stepwise or not drops,
            f"{asked} with rate.schedule={rate.schedule}",
            "the rate drops after these epochs with rate.schedule=step",
            f"rate.schedule=step {asked}",
        ),
        (
            bool(drops) or not stepwise,
            "rate.schedule=step with rate.drop_epochs=[]",
            "it does not say after which epochs the rate drops",
            f"rate.schedule=step {USUAL_DROPS}",
        ),
        (
            all(0 < epoch < options.epochs for epoch in drops) and drops == sorted(set(drops)),
            f"{asked} with epochs={options.epochs}",
            "the rate drops after some of the epochs but the last, in their order",
            f"{USUAL_DROPS} epochs=10",
        ),
        (
            0 < rate.drop_factor < 1,
            f"rate.drop_factor={rate.drop_factor:g}",
            "a rate drops by a factor between 0 and 1",
            "rate.drop_factor=0.1",
        ),
        (
            rate.by_workers is ByWorkers.none or options.scaling is Scaling.weak,
            f"rate.by_workers={rate.by_workers} with scaling={options.scaling}",
            "with it the batch is the same on any number of workers, and so is the rate",
            "rate.by_workers=none",
        ),
        (
            options.optimizer.variant == "reference" or not _moves(options),
            f"rate.schedule={rate.schedule} rate.warmup_steps={rate.warmup_steps} "
            "with optimizer.variant=stock",
            "the framework's own Adam runs at one rate here",
            "optimizer.variant=reference",
        ),
    ]
    for holds, given, found, fix in rules:
        if not holds:
            raise DistlabError(given, found, fix)


def told(options: dict[str, str], rate: str) -> str:
    """Learning rates as a report tells them.

    Parameters
    ----------
    options:
        Those of a run, as its record has them, perhaps of a time when every rate was constant.
    rate:
        The option ``learning_rate``.
    """
    words = [f"learning rate {rate}"]
    schedule = options.get("rate.schedule", "constant")
    if schedule == "cosine":
        words.append("falling by a cosine")
    if schedule == "step":
        factor, after = options.get("rate.drop_factor"), options.get("rate.drop_epochs")
        words.append(f"times {factor} after epochs {after}")
    if (warm := options.get("rate.warmup_steps", "0")) != "0":
        words.append(f"warm-up of {warm} steps")
    if (by := options.get("rate.by_workers", "none")) != "none":
        words.append(f"{'times' if by == 'linear' else 'times the root of'} the number of workers")
    return ", ".join(words)


def _moves(options: Options) -> bool:
    """Whether rates differ from step to step."""
    return options.rate.schedule is not RateSchedule.constant or options.rate.warmup_steps > 0
