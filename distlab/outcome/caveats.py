"""Caveats: what speaks against a run's figures though its checks passed, in one list of codes.

A run's summary holds ``caveats``, a list of codes, each with what was found. What shows or ranks
runs asks this module and nothing else whether a run counts, and why not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

THROTTLED_AT_MOST = 0.01
"""Share of its threads' time for which a run may be stopped by a quota and still be believed."""


class Code(StrEnum):
    """What may speak against a run's figures."""

    oversubscribed = "oversubscribed"
    bound = "bound"
    throttled = "throttled"
    noisy = "noisy"
    diverged = "diverged"
    shared_cores = "shared_cores"
    unlike_hosts = "unlike_hosts"
    restarted = "restarted"
    resized = "resized"
    power_capped = "power_capped"
    short = "short"
    unknown = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "Code":
        """A code of a later version: nothing is claimed of a run that has one."""
        return cls.unknown

    @property
    def words(self) -> str:
        """The code as a table shows it: ``too noisy``."""
        return MEANINGS[self].words

    @property
    def sentence(self) -> str:
        """What it means, for who does not know it."""
        return MEANINGS[self].sentence

    @property
    def ranked(self) -> bool:
        """Whether a run that has it still counts.

        One that does not is in no figure of a report, in no comparison, and no baseline.
        """
        return MEANINGS[self].ranked


class Meaning(NamedTuple):
    """What :class:`Code` says of a code."""

    words: str
    sentence: str
    ranked: bool = False


MEANINGS = {
    Code.oversubscribed: Meaning(
        "oversubscribed",
        "On a host the run had more computing threads than cores that they may use, so that they "
        "waited for each other.",
    ),
    Code.bound: Meaning(
        "bound to too few cores",
        "A worker's threads were bound to fewer cores than there are threads.",
    ),
    Code.throttled: Meaning(
        "throttled",
        "The system held the run's processes back while they had work to do, or heat or the supply "
        "of power a GPU's clocks.",
    ),
    Code.noisy: Meaning(
        "too noisy",
        "Others kept the cores or the GPU busy that the run needed, or the hypervisor took cores "
        "away.",
    ),
    # Today such a run ends and leaves no summary; it may be in records of earlier versions.
    Code.diverged: Meaning(
        "diverged",
        "A loss was no longer finite, so that the run trained nothing from there on.",
    ),
    # As a machine is mostly used, and alike for all frameworks: but it is no scaling over cores.
    Code.shared_cores: Meaning(
        "shared cores",
        "Threads shared physical cores (SMT, Hyper-Threading), where each has less than a core's "
        "pace: more workers are not as many more cores.",
        ranked=True,
    ),
    # Every step waits for the slowest host, so that the figure is true of these hosts together.
    Code.unlike_hosts: Meaning(
        "unlike hosts",
        "The run's hosts differ, and the slowest of them sets the pace.",
        ranked=True,
    ),
    # Every epoch that counts is timed from barrier to barrier, by one group of processes.
    Code.restarted: Meaning(
        "restarted",
        "Workers failed and others went on from the last state; the time until they trained is in "
        "the wall time and in no throughput.",
        ranked=True,
    ),
    Code.resized: Meaning(
        "resized",
        "Workers came or went while the run went on, so that its figures are of no one number of "
        "workers.",
    ),
    # The board's own limit, under which each framework computes alike.
    Code.power_capped: Meaning(
        "power-capped",
        "A GPU's power limit held its clocks down, as it does on most under full load.",
        ranked=True,
    ),
    Code.short: Meaning(
        "short epochs",
        "An epoch on the GPU takes less than a second, of which the host's own work may be a tenth "
        "or more; the noise of so short windows is not seen.",
        ranked=True,
    ),
    Code.unknown: Meaning(
        "an unknown caveat",
        "The record names a caveat that this version of distlab does not know.",
    ),
}


@dataclass(frozen=True)
class Caveat:
    """A code, and what was found in one run, in a few words."""

    code: Code
    detail: str

    def __str__(self) -> str:
        return f"{self.code.words} ({self.detail})"


def of(summary: Mapping[str, Any]) -> list[Caveat]:
    """The caveats of a run, in the order in which they were found.

    Of a run recorded before there were caveats, it is known whether the machine was too noisy and
    whether a loss was finite.
    """
    if (told := summary.get("caveats")) is not None:
        return [Caveat(Code(one["code"]), one["detail"]) for one in told]
    noisy = (summary.get("load") or {}).get("too_noisy")
    found = [Caveat(Code.noisy, noisy)] if noisy else []
    losses = [*(summary.get("train_loss") or []), *(summary.get("test_loss") or [])]
    if not all(loss is not None and math.isfinite(loss) for loss in losses):
        found.append(Caveat(Code.diverged, "a loss is no number"))
    return found


def doubts(summary: Mapping[str, Any]) -> list[Caveat]:
    """Those caveats of a run that keep it out of every ranking."""
    return [caveat for caveat in of(summary) if not caveat.code.ranked]


def counts(summary: Mapping[str, Any]) -> bool:
    """Whether a run's figures may be believed: it is verified, and no caveat speaks against it."""
    return bool(summary["verified"]) and not doubts(summary)


def codes(caveats: Sequence[Caveat]) -> list[Code]:
    """The different codes of caveats, in the order of the list of all."""
    found = {caveat.code for caveat in caveats}
    return [code for code in Code if code in found]


def words(caveats: Sequence[Caveat]) -> str:
    """The different codes as a table shows them: ``oversubscribed, too noisy``."""
    return ", ".join(code.words for code in codes(caveats))


def told(caveats: Sequence[Caveat]) -> str:
    """Caveats in one line: ``oversubscribed (4 threads on 2 cores of here), too noisy (...)``."""
    return ", ".join(str(caveat) for caveat in caveats)


def plain(caveats: Sequence[Caveat]) -> list[dict[str, str]]:
    """Caveats as a summary holds them, and :func:`of` reads them."""
    return [{**asdict(caveat), "code": str(caveat.code)} for caveat in caveats]


def oversubscribed(threads: int, cores: float, host: str) -> Caveat | None:
    """The caveat of a host with more threads than cores, or None.

    Parameters
    ----------
    threads:
        Computing threads of all the run's workers on this host.
    cores:
        Cores that they may use; a part of one where a quota grants no more.
    host:
        The host as it is called in the caveat.
    """
    if threads <= cores:
        return None
    shared = f"{threads} thread{'s' * (threads != 1)} on {cores:g} core{'s' * (cores != 1)}"
    return Caveat(Code.oversubscribed, f"{shared} of {host}")


def throttled(cores: float, threads: int, host: str) -> Caveat | None:
    """The caveat of a host whose control groups stopped the run, or None.

    Parameters
    ----------
    cores:
        How many cores' work was stopped on average during the timed windows.
    threads:
        Computing threads of all the run's workers on this host.
    host:
        The host as it is called in the caveat.
    """
    share = cores / threads
    if share <= THROTTLED_AT_MOST:
        return None
    return Caveat(Code.throttled, f"for {share:.0%} of the time by its CPU quota on {host}")


def restarted(restarts: int, seconds: float) -> Caveat:
    """The caveat of a run that went on after failures.

    Parameters
    ----------
    restarts:
        How often.
    seconds:
        How long it took until new workers were ready, all together.
    """
    times = "once" if restarts == 1 else f"{restarts} times"
    return Caveat(Code.restarted, f"{times}, {seconds:.1f} s until it trained again")


def resized(sizes: Sequence[int]) -> Caveat:
    """The caveat of a run whose epochs were trained on different numbers of workers."""
    return Caveat(Code.resized, f"epochs on {' and '.join(map(str, sizes))} workers")
