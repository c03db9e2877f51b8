"""The record of one run: ranks' events merged, one epoch after the other."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from distlab.data.dataset import Dataset
from distlab.data.order import digest
from distlab.experiment.experiment import Experiment
from distlab.measure.clock import step_times, throughput
from distlab.models.weights import Weights
from distlab.outcome.devices.hosts import Host
from distlab.outcome.evaluations.epoch import Epoch
from distlab.outcome.evaluations.points import Point, inside, merged, of_run
from distlab.outcome.events import Begun, EpochDone, Event, Finished, Ready, Started
from distlab.outcome.stretch import Stretch, together

FIRST_LOSSES = 10
CURVE_POINTS = 100


@dataclass
class Record:
    """What is known of a run so far; filled by :meth:`add`.

    Attributes
    ----------
    epochs:
        Completed epochs, all ranks merged.
    startup:
        Seconds from the command to the first timed step, by cause, on the driver's clock.
    stretches:
        What each group of workers did of it; more than one after a failure.
    restarts:
        How often it went on after a failure.
    recovery_s:
        Seconds from when failures were noticed until the workers after them were ready.
    earlier_s:
        Wall-clock seconds of commands before this one that worked at the run.
    kept_out:
        Environment variables that were kept from the workers.
    nodes:
        How many hosts Ray had.
    """

    experiment: Experiment
    dataset: Dataset
    command_time: float
    kept_out: list[str] = field(default_factory=list)
    nodes: int | None = None
    epochs: list[Epoch] = field(default_factory=list)
    startup: dict[str, float] = field(default_factory=dict)
    startup_s: float | None = None
    stretches: list[Stretch] = field(default_factory=list)
    restarts: int = 0
    recovery_s: float = 0.0
    earlier_s: float = 0.0
    _failed: float | None = None
    _pending: dict[int, dict[int, EpochDone]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stretches:
            self.stretches.append(Stretch(self.experiment.world_size))

    def add(self, event: Event) -> Epoch | None:
        """Take an event in; return the epoch that it completes, if it completes one."""
        now = self.stretches[-1]
        match event:
            case Begun():
                self._begin(event)
            case Started():
                now.started[event.rank] = event
                if len(now.started) == now.world_size and self.startup_s is None:
                    self.mark("workers")
            case Ready():
                now.ready[event.rank] = event
                removed = event.resources.get("kept_out", ())
                self.kept_out = sorted({*self.kept_out, *removed})
                if now.whole:
                    self._all_ready()
            case Finished():
                now.finished[event.rank] = event
            case EpochDone():
                parts = self._pending.setdefault(event.epoch, {})
                parts[event.rank] = event
                if len(parts) == now.world_size:
                    return self.complete(self._pending.pop(event.epoch))
        return None

    @property
    def ready(self) -> dict[int, Ready]:
        """What the present ranks told when they stood before their first timed step."""
        return self.stretches[-1].ready

    @property
    def started(self) -> dict[int, Started]:
        """What the present ranks told when they started."""
        return self.stretches[-1].started

    @property
    def finished(self) -> dict[int, Finished]:
        """What the present ranks told at their end."""
        return self.stretches[-1].finished

    @property
    def windows(self) -> list[dict[int, EpochDone]]:
        """What ranks told of each epoch that counts, by rank, one epoch after the other."""
        return [parts for stretch in self.stretches for parts in stretch.windows]

    @property
    def trained(self) -> list[Stretch]:
        """The stretches of which something counts: those that trained an epoch, and the last."""
        return [one for one in self.stretches[:-1] if one.windows] + self.stretches[-1:]

    def _begin(self, event: Begun) -> None:
        """A group of workers begins; what was not whole before it does not count."""
        self._pending.clear()
        del self.epochs[event.epoch :]
        for stretch in self.stretches:
            del stretch.windows[max(0, event.epoch - stretch.first) :]
        if event.failure is not None:
            self.restarts += 1
        if event.failed is not None:
            self._failed = event.failed
        if event.failed is not None or self.stretches[-1].group is not None:
            self.stretches.append(Stretch(event.world_size))
        if event.world_size != self.experiment.world_size:
            self.experiment = replace(self.experiment, world_size=event.world_size)
        now = self.stretches[-1]
        now.group, now.group_run = event.group, event.group_run
        now.world_size, now.first = event.world_size, event.epoch

    def mark(self, cause: str) -> None:
        """Ascribe the seconds since the last mark (or the command) to ``cause``."""
        elapsed = time.time() - self.command_time
        self.startup[cause] = elapsed - sum(self.startup.values())

    def _all_ready(self) -> None:
        """Split the time since the workers' start by what the slowest rank says."""
        if self._failed is not None:
            self.recovery_s += time.time() - self._failed
            self._failed = None
        if self.startup_s is not None:
            return
        self.startup_s = time.time() - self.command_time
        slowest = max(self.ready.values(), key=lambda ready: sum(_parts(ready).values()))
        self.startup.update({f"worker_{cause}": s for cause, s in _parts(slowest).items()})

    def complete(self, by_rank: dict[int, EpochDone]) -> Epoch:
        """Merge the ranks' parts of the next epoch."""
        index = len(self.epochs)
        parts = [by_rank[rank] for rank in sorted(by_rank)]
        self.stretches[-1].windows.append(by_rank)
        consumed = _consumed(by_rank)
        slowest = max(parts, key=lambda part: part.window.seconds)
        after = merged(len(consumed), slowest.window.seconds, [part.evaluation for part in parts])
        epoch = Epoch(
            index=index,
            seconds=slowest.window.seconds,
            throughput=throughput(consumed.size, [part.window.seconds for part in parts]),
            step_time_ms=step_times([slowest.window]),
            losses=np.mean([part.losses.astype(np.float64) for part in parts], axis=0),
            test_accuracy=after.test_accuracy,
            test_loss=after.test_loss,
            evaluated=after.evaluated,
            learnable=self.dataset.learnable,
            inner=inside(parts),
        )
        self.epochs.append(epoch)
        return epoch

    @property
    def points(self) -> list[Point]:
        """All evaluations, by steps and seconds of the run."""
        return of_run(epoch.points for epoch in self.epochs)

    @property
    def stopped(self) -> str | None:
        """What ended the run before its epochs were over, as its ranks told; None if nothing."""
        told = {part.stopped for part in self.windows[-1].values()} if self.windows else {None}
        return told.pop() if len(told) == 1 else None

    @property
    def samples_sha256(self) -> str:
        """Fingerprint of the sample ids that the ranks consumed, in order."""
        return digest(map(_consumed, self.windows))

    @property
    def first_losses(self) -> list[float]:
        """Global losses of the first ten steps."""
        if not self.epochs:
            return []
        losses = np.concatenate([epoch.losses for epoch in self.epochs])
        return [float(loss) for loss in losses[:FIRST_LOSSES]]

    @property
    def final_weights(self) -> Weights | None:
        """The trained weights, once rank 0 has finished."""
        return self.finished[0].weights if 0 in self.finished else None

    @property
    def hosts(self) -> list[Host]:
        """The hosts on which something counts, with what their ranks have told so far."""
        threads = self.experiment.options.threads_per_worker
        return [host for stretch in together(self.trained) for host in stretch.hosts(threads)]

    @property
    def loss_curve(self) -> dict[str, list[float]]:
        """At most 100 means of consecutive losses, each at the last step of its part."""
        if not self.epochs:
            return {"step": [], "loss": []}
        losses = np.concatenate([epoch.losses for epoch in self.epochs])
        parts = np.array_split(losses, min(CURVE_POINTS, len(losses)))
        ends = np.cumsum([len(part) for part in parts])
        return {
            "step": [int(end) for end in ends],
            "loss": [float(part.mean()) for part in parts],
        }


def _consumed(by_rank: dict[int, EpochDone]) -> NDArray[np.int32]:
    """The samples of an epoch's global batches ``[steps, global_batch]``, as ranks took them."""
    return np.concatenate([by_rank[rank].consumed for rank in sorted(by_rank)], axis=1)


def _parts(ready: Ready) -> dict[str, float]:
    """A rank's start-up seconds without those that are contained in others."""
    return {cause: seconds for cause, seconds in ready.seconds.items() if cause != "compile"}
