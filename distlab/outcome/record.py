"""The record of one run: ranks' events merged into the figures that a person compares."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distlab.data.dataset import Dataset
from distlab.data.order import digest
from distlab.experiment.experiment import Experiment
from distlab.experiment.names import made_of
from distlab.machine.load import worst
from distlab.measure.clock import step_times, throughput
from distlab.measure.efficiency import model_flop_utilisation
from distlab.models.weights import Weights
from distlab.outcome.caveats import Caveat, plain, resized, restarted
from distlab.outcome.devices import energy, gpus
from distlab.outcome.evaluations.points import Point, inside, merged, of_run, to_target, told
from distlab.outcome.events import Begun, EpochDone, Event, Finished, Ready, Started
from distlab.outcome.exchange import all_reduces, share
from distlab.outcome.hosts import Host, caveats
from distlab.outcome.stretch import Stretch, by_size, together

FIRST_LOSSES = 10
CURVE_POINTS = 100


@dataclass(frozen=True)
class Epoch:
    """One epoch of the whole job.

    Attributes
    ----------
    seconds:
        The slowest rank's window.
    step_time_ms:
        See :func:`distlab.measure.clock.step_times`.
    losses:
        float64 ``[steps]``: loss of each global batch, the mean over ranks of equal shards.
    evaluated:
        Test samples that were evaluated, over all ranks.
    learnable:
        Whether the accuracy means anything: of noise it does not.
    inner:
        Evaluations inside the epoch.
    """

    index: int
    seconds: float
    throughput: float
    step_time_ms: dict[str, float | int | None]
    losses: NDArray[np.float64]
    test_accuracy: float
    test_loss: float
    evaluated: int
    learnable: bool = True
    inner: tuple[Point, ...] = ()

    @property
    def steps(self) -> int:
        """How many steps it had: fewer than others if the run ended inside it."""
        return len(self.losses)

    @property
    def points(self) -> list[Point]:
        """All its evaluations: those inside it, and that after it."""
        after = self.test_accuracy, self.test_loss, self.evaluated
        return [*self.inner, Point(self.steps, self.seconds, *after)]

    @property
    def told_accuracy(self) -> float | None:
        """The accuracy, as records and people are told it: None of noise."""
        return self.test_accuracy if self.learnable else None

    @property
    def train_loss(self) -> float:
        """Mean loss over the epoch's steps."""
        return float(self.losses.mean())


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
    def _further(self) -> list[Caveat]:
        """The caveats of a run that went on after failures, or with other numbers of workers."""
        found = [restarted(self.restarts, self.recovery_s)] if self.restarts else []
        sizes = sorted({one.world_size for one in self.trained if one.windows})
        return found + ([resized(sizes)] if len(sizes) > 1 else [])

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

    def summary(self) -> dict[str, Any]:
        """The figures of the run as JSON-able values; checks and tracking ids are added later."""
        experiment, options, hosts = self.experiment, self.experiment.options, self.hosts
        exchange = share([done.exchange for done in self.finished.values() if done.exchange])
        resources = self.ready[0].resources if 0 in self.ready else {}
        seconds = [epoch.seconds for epoch in self.epochs]
        steps = len(self.dataset.train_labels) // experiment.global_batch
        slowest = [
            max(parts.values(), key=lambda part: part.window.seconds).window
            for parts in self.windows
        ]
        taken = sum(epoch.steps for epoch in self.epochs)
        samples = experiment.global_batch * taken
        points = self.points
        reached, resolution = to_target(points, options.target_accuracy)
        every = options.evaluate.every
        figure = samples / sum(seconds) if seconds else None
        rates: list[Any] = [
            ready.resources.get("matrix_product_flops_per_s") for ready in self.ready.values()
        ]
        limit = float(sum(rates)) if rates and None not in rates else None
        return {
            "framework": options.framework.name,
            "framework_version": resources.get("framework_version"),
            "execution": experiment.execution,
            "precision": str(options.precision),
            "optimizer": str(options.optimizer.variant),
            "model": options.model.name,
            "data": self.dataset.name,
            "data_sha256": self.dataset.checksum,
            "comparison_key": experiment.comparison_key(
                self.dataset.checksum, str(resources.get("device_name"))
            ),
            "series": experiment.series(self.dataset.checksum),
            "options": made_of(options, self.dataset.name),
            "device": experiment.device,
            "device_name": resources.get("device_name"),
            "resources": resources,
            "world_size": experiment.world_size,
            "scaling": str(options.scaling),
            "batch_size": options.batch_size,
            "global_batch_size": experiment.global_batch,
            "learning_rate": options.learning_rate,
            "epochs": options.epochs,
            "seed": options.seed,
            "repeat": experiment.repeat,
            "run_seed": experiment.run_seed,
            "group": self.stretches[-1].group,
            "group_run": self.stretches[-1].group_run,
            "restarts": self.restarts,
            "recovery_s": self.recovery_s,
            "stretches": [stretch.plain() for stretch in self.trained],
            "sizes": by_size(self.trained),
            "threads_per_worker": options.threads_per_worker,
            "kept_from_workers": self.kept_out,
            "engine": str(options.engine),
            "pin": None if options.pin is None else str(options.pin),
            "placement": str(options.placement),
            "nodes": self.nodes,
            "ranks": self.stretches[-1].ranks(),
            "target_accuracy": options.target_accuracy,
            "parameters": experiment.spec.parameter_count,
            "input_shape": list(experiment.spec.input_shape),
            "training_flops_per_sample": experiment.spec.training_flops,
            "steps_per_epoch": steps,
            "steps": taken,
            "stopped": self.stopped,
            "epoch_time_s": seconds,
            "throughput_samples_per_s": figure,
            "communication_share": exchange and exchange.value,
            "communication_share_low": exchange and exchange.low,
            "communication_share_high": exchange and exchange.high,
            "all_reduces": all_reduces([done.all_reduces for done in self.finished.values()]),
            "matrix_product_flops_per_s": limit,
            "matrix_product_library": resources.get("matrix_product_library"),
            "model_flop_utilisation": (
                model_flop_utilisation(experiment.spec.training_flops, figure, limit)
                if figure and limit
                else None
            ),
            "load": worst([host.load for host in hosts if host.load is not None]),
            "gpus": gpus.told(self.trained),
            **energy.told(self.trained, samples, experiment.device),
            "caveats": plain(
                list(
                    dict.fromkeys(
                        [
                            *caveats(hosts),
                            *gpus.caveats(self.trained, experiment.device),
                            *self._further,
                        ]
                    )
                )
            ),
            "step_time_ms": step_times(slowest) if slowest else None,
            "train_loss": [epoch.train_loss for epoch in self.epochs],
            "test_loss": [epoch.test_loss for epoch in self.epochs],
            "test_accuracy": [epoch.told_accuracy for epoch in self.epochs],
            "evaluations": None if every is None else told(points, self.dataset.learnable),
            "time_to_accuracy_s": reached if self.dataset.learnable else None,
            "time_to_accuracy_resolution_s": resolution if self.dataset.learnable else None,
            "first_losses": self.first_losses,
            "loss_curve": self.loss_curve,
            "weights_sha256": self.ready[0].weights_sha256 if 0 in self.ready else None,
            "final_weights_sha256": (
                self.finished[0].weights_sha256 if 0 in self.finished else None
            ),
            "samples_sha256": self.samples_sha256,
            "evaluated_samples": self.epochs[-1].evaluated if self.epochs else 0,
            "startup_s": self.startup_s,
            "startup_split_s": self.startup,
            "compile_s": (
                max(ready.seconds["compile"] for ready in self.ready.values())
                if self.ready
                else None
            ),
            "peak_memory_bytes": max(
                (finished.peak_memory_bytes for finished in self.finished.values()), default=None
            ),
            "peak_device_memory_bytes": max(
                (
                    finished.peak_device_memory_bytes
                    for finished in self.finished.values()
                    if finished.peak_device_memory_bytes is not None
                ),
                default=None,
            ),
            "wall_s": self.earlier_s + time.time() - self.command_time,
        }


def _consumed(by_rank: dict[int, EpochDone]) -> NDArray[np.int32]:
    """The samples of an epoch's global batches ``[steps, global_batch]``, as ranks took them."""
    return np.concatenate([by_rank[rank].consumed for rank in sorted(by_rank)], axis=1)


def _parts(ready: Ready) -> dict[str, float]:
    """A rank's start-up seconds without those that are contained in others."""
    return {cause: seconds for cause, seconds in ready.seconds.items() if cause != "compile"}
