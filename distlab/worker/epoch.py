"""An epoch on one rank: parts of it inside the clock's windows, evaluations between them.

Where the run ends before its epochs are over, all ranks find so by the same figures, with no word
from the driver.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
from numpy.typing import NDArray

from distlab.backends.base import Backend, Evaluation, Placement
from distlab.data.order import epoch_order, evaluation_range, shard
from distlab.errors import DistlabError
from distlab.experiment.task import Task
from distlab.experiment.training import stopping
from distlab.machine.devices.energy import DeviceWindow, Meter
from distlab.machine.load import CpuSeconds
from distlab.measure.clock import Window, part_lengths, span_lengths
from distlab.outcome.events import Divergence, EpochDone, Evaluated, Event, Progress

PROGRESS_INTERVAL_S = 1.0
BEAT_S = 10.0
"""How often each rank says at least, between steps, that it goes on: 1.5 ms of ten seconds."""
PATIENCE = 10.0
"""How many times as long as it should take a rank may be silent (``Progress.quiet_s``)."""


class Epochs:
    """The epochs of one run on one rank.

    Parameters
    ----------
    backend, task, placement:
        What trains, what it does, and where.
    train_samples, test_samples:
        Sizes of the data sets.
    cpu_seconds, meter:
        The clocks beside that of the windows.
    seconds:
        How long rank 0 has trained before.

    Attributes
    ----------
    stopped:
        What ended the run (:mod:`distlab.experiment.training.stopping`); None if nothing did yet.
    last:
        The last epoch and step of it that were trained, from 0.
    number:
        How many epochs the run has at most, of which the last may be a part.
    """

    def __init__(
        self,
        backend: Backend,
        task: Task,
        placement: Placement,
        train_samples: int,
        test_samples: int,
        cpu_seconds: Callable[[], CpuSeconds],
        meter: Meter,
        seconds: float = 0.0,
    ) -> None:
        self._backend, self._task, self._placement = backend, task, placement
        self._train_samples, self._test_samples = train_samples, test_samples
        self._cpu_seconds, self._meter = cpu_seconds, meter
        self._steps = train_samples // task.global_batch
        self._limit = task.stop.most(task.epochs * self._steps)
        self._told = 0.0
        self.seconds = seconds
        self.stopped: str | None = None
        self.last = (task.epochs - 1, self._steps - 1)
        self.number = math.ceil(self._limit / self._steps)

    def check(self) -> None:
        """Refuse an end that ranks cannot agree on; once the model is built.

        Raises
        ------
        DistlabError
            If the backend offers no mean over the ranks.
        """
        alone = self._placement.world_size == 1
        if alone or not self._task.stop.depends:
            return
        if self._backend.averaging(np.zeros(2, np.float32)) is None:
            raise DistlabError(
                f"stop.at_target or stop.seconds with framework={self._task.framework} on "
                f"{self._placement.world_size} workers",
                "its backend has no Backend.averaging, by which workers agree on the end",
                "{command} stop.at_target=false stop.seconds=null stop.steps=1000",
            )

    def train(self, epoch: int) -> Iterator[Event]:
        """Train one epoch, or what the run takes of it, inside windows; evaluate outside them.

        A first window begins and a last one ends with the epoch; there is no other, unless the
        model is evaluated inside it.
        """
        task, placement = self._task, self._placement
        order = epoch_order(task.seed, epoch, self._train_samples, task.global_batch)
        order = order[: self._limit - epoch * self._steps]
        mine = shard(order, placement.rank, placement.world_size)
        rates = task.program.rates(len(mine))
        if task.rates is not None:
            rates = task.rates[epoch * self._steps :][: len(mine)]
        bounds = np.cumsum([0, *part_lengths(len(mine), task.evaluate_every)])
        losses: list[NDArray[np.float32]] = []
        spans: list[tuple[int, float]] = []
        taken: list[tuple[CpuSeconds, DeviceWindow]] = []
        inner: list[Evaluated] = []
        before = 0.0
        for begin, end in pairwise(map(int, bounds)):
            seconds = yield from self._part(
                epoch, mine[begin:end], rates[begin:end], begin, before, losses, spans, taken
            )
            before += seconds
            part = evaluation_range(self._test_samples, placement.rank, placement.world_size)
            quiet_s = PATIENCE * before * (part[1] - part[0]) / mine[:end].size
            if quiet_s > BEAT_S:
                loss = float(losses[-1][-1])
                yield Progress(placement.rank, epoch, end, before, loss, quiet_s)
            evaluation = self._backend.evaluate(*part)
            if not math.isfinite(evaluation.loss_sum):
                figure = f"test loss {evaluation.loss_sum}"
                yield Divergence(placement.rank, epoch, end - 1, figure)
            self.seconds += seconds
            self.last = epoch, end - 1
            self.stopped = self._why(epoch * self._steps + end, evaluation)
            if self.stopped is not None or end == len(mine):
                break
            inner.append(Evaluated(end, before, evaluation))
        cpu, device = zip(*taken, strict=True)
        yield EpochDone(
            *(placement.rank, epoch, Window(before, tuple(spans)), np.concatenate(losses)),
            *(mine[:end], evaluation, reduce(add, cpu), reduce(add, device)),
            inner=tuple(inner),
            stopped=self.stopped,
        )

    def _part(
        self,
        epoch: int,
        mine: NDArray[np.int32],
        rates: NDArray[np.float64],
        first: int,
        before: float,
        losses: list[NDArray[np.float32]],
        spans: list[tuple[int, float]],
        taken: list[tuple[CpuSeconds, DeviceWindow]],
    ) -> Generator[Event, None, float]:
        """Train steps in one window between two barriers; give its seconds.

        Parameters
        ----------
        epoch:
            Which it is, from 0.
        mine, rates:
            This rank's samples of the steps, and the steps' learning rates.
        first, before:
            Which step of the epoch is the first, and the seconds of those before it.
        losses, spans, taken:
            What becomes longer by what comes out.
        """
        backend, task, placement = self._backend, self._task, self._placement
        flops_per_step = task.spec.training_flops * task.program.local_batch
        bounds = np.cumsum([0, *span_lengths(len(mine), flops_per_step, placement.device)])
        beat = PROGRESS_INTERVAL_S if task.live and placement.rank == 0 else BEAT_S
        read = self._meter.now()
        cpu = self._cpu_seconds()
        backend.barrier()
        start = mark = time.perf_counter()
        if not first:
            self._told = start
        for begin, end in pairwise(bounds):
            losses.append(backend.train(mine[begin:end], rates[begin:end]))
            now = time.perf_counter()
            spans.append((int(end - begin), now - mark))
            mark = now
            # A look at the losses takes some 5 microseconds, of a span of some hundredths of a
            # second.
            lost = np.flatnonzero(~np.isfinite(losses[-1]))
            if lost.size:
                loss = float(losses[-1][lost[0]])
                step = first + int(begin + lost[0])
                yield Divergence(placement.rank, epoch, step, f"loss {loss}")
            if now - self._told >= beat:
                quiet_s = PATIENCE * max(took for _, took in spans)
                loss = float(losses[-1][-1])
                seconds = before + now - start
                step = first + int(end)
                yield Progress(placement.rank, epoch, step, seconds, loss, quiet_s)
                self._told = now
        backend.barrier()
        seconds = time.perf_counter() - start
        taken.append((self._cpu_seconds() - cpu, self._meter.since(read)))
        return seconds

    def _why(self, step: int, evaluation: Evaluation) -> str | None:
        """What ends the run after so many of its steps, the same on all ranks.

        On several, they add up the samples that are classified rightly, as whole numbers that
        float32 holds, and take rank 0's seconds.
        """
        stop, placement = self._task.stop, self._placement
        if step == self._task.epochs * self._steps:
            return None
        if stop.depends:
            figures = np.array([evaluation.correct, self.seconds], np.float64)
            if placement.world_size > 1:
                mine = figures * (1, placement.rank == 0)
                averaging = self._backend.averaging(mine.astype(np.float32))
                assert averaging is not None, "check() has seen it"
                averaging.run()
                figures = averaging.read().astype(np.float64) * placement.world_size
            why = stop.reached(round(figures[0]) / self._test_samples, float(figures[1]))
            if why is not None:
                return why
        return stopping.STEPS if step == self._limit else None
