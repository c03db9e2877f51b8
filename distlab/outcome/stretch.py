"""A stretch of a run: what one group of workers did of it, from its start to its end or failure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distlab.outcome.devices.hosts import Host
from distlab.outcome.events import EpochDone, Finished, Ready, Started

RANK_TOLD = (
    *("interface", "device_name", "framework_version"),
    *("python_version", "numpy_version", "distlab_version"),
)
"""What a summary holds of the resources of each rank; rank 0's are there as a whole."""


@dataclass
class Stretch:
    """One group's part of a run; a run without a failure is one stretch.

    Attributes
    ----------
    world_size:
        The group's number of workers.
    first:
        The epoch that it began with, from 0.
    group, group_run:
        The id of the group, and how many runs its processes had made before.
    started, ready, finished:
        What its ranks told, by rank.
    windows:
        What its ranks told of each epoch that counts, one after the other: an epoch that was
        trained again, because the state after it was lost, is the later group's.
    """

    world_size: int
    first: int = 0
    group: str | None = None
    group_run: int = 0
    started: dict[int, Started] = field(default_factory=dict)
    ready: dict[int, Ready] = field(default_factory=dict)
    finished: dict[int, Finished] = field(default_factory=dict)
    windows: list[dict[int, EpochDone]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all its ranks got ready."""
        return len(self.ready) == self.world_size

    def hosts(self, threads_per_worker: int) -> list[Host]:
        """The hosts in the order of their first ranks, with what their ranks have told so far."""
        found = []
        for (name, _), ranks in self.places().items():
            told = [self.ready[rank].resources for rank in ranks if rank in self.ready]
            windows = [
                [part.cpu for parts in self.windows if (part := parts.get(rank)) and part.cpu]
                for rank in ranks
            ]
            whole = len(told) == len(ranks) and all(windows)
            threads = len(ranks) * threads_per_worker
            found.append(Host(name, threads, told, windows if whole else None))
        return found

    def places(self) -> dict[tuple[str, str], list[int]]:
        """The ranks of each host, by its name and address: two hosts may have one name."""
        found: dict[tuple[str, str], list[int]] = {}
        for rank, started in sorted(self.started.items()):
            found.setdefault((started.host, started.address), []).append(rank)
        return found

    def ranks(self) -> list[dict[str, Any]]:
        """Where each rank is that got ready and what it runs, as a summary holds it."""
        return [
            {
                "rank": rank,
                "host": self.started[rank].host,
                "address": self.started[rank].address or None,
                "log": self.started[rank].log,
                **{name: ready.resources.get(name) for name in RANK_TOLD},
            }
            for rank, ready in sorted(self.ready.items())
            if rank in self.started
        ]

    def told(self) -> str:
        """Which ranks are on which host: ``ranks 0 and 1 on red, 2 on blue``."""
        each = [
            f"{', '.join(map(str, ranks[:-1]))}{' and ' * (len(ranks) > 1)}{ranks[-1]} on {name}"
            for (name, _), ranks in self.places().items()
        ]
        return f"rank{'s' * (len(self.started) > 1)} {', '.join(each)}"

    def plain(self) -> dict[str, Any]:
        """It as a summary holds it."""
        return {
            "group": self.group,
            "world_size": self.world_size,
            "hosts": [name for name, _ in self.places()],
            "first_epoch": self.first + 1,
            "epochs": len(self.windows),
        }


def by_size(stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    """What was trained at each number of workers, the least first, as a summary holds it.

    Parameters
    ----------
    stretches:
        Those of a run.
    """
    seconds: dict[int, list[float]] = {}
    samples: dict[int, int] = {}
    for one in stretches:
        for parts in one.windows:
            slowest = max(part.window.seconds for part in parts.values())
            seconds.setdefault(one.world_size, []).append(slowest)
            consumed = sum(part.consumed.size for part in parts.values())
            samples[one.world_size] = samples.get(one.world_size, 0) + consumed
    rates = {size: samples[size] / sum(told) for size, told in sorted(seconds.items())}
    least = min(rates, default=None)
    return [
        {
            "world_size": size,
            "epochs": len(seconds[size]),
            "throughput_samples_per_s": rate,
            "efficiency": (
                None if least is None or size == least else rate / size / (rates[least] / least)
            ),
        }
        for size, rate in rates.items()
    ]


def together(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The stretches with those as one whose ranks were on the same hosts, rank by rank.

    What a host's other processes did is then told once of it.
    """
    found: dict[tuple[tuple[str, str], ...], Stretch] = {}
    for one in stretches:
        hosts = tuple((s.host, s.address) for _, s in sorted(one.started.items()))
        before = found[hosts].windows if hosts in found else []
        found[hosts] = replace(one, windows=[*before, *one.windows])
    return list(found.values())
