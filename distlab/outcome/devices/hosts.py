"""The hosts of a run: which cores its ranks may use there, who else used them, what is doubtful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distlab.machine.load import CpuSeconds, Load, load
from distlab.outcome.caveats import Caveat, Code, oversubscribed, throttled


@dataclass(frozen=True)
class Host:
    """What the ranks of a run on one host told.

    Attributes
    ----------
    name:
        The host's own name.
    threads:
        Computing threads of all the run's ranks on it.
    resources:
        What each of these ranks that got ready said of what it has
        (:class:`distlab.outcome.events.Ready`).
    windows:
        For each of these ranks, the CPU times of its windows; None where one is not known.
    """

    name: str
    threads: int
    resources: Sequence[Mapping[str, Any]]
    windows: Sequence[Sequence[CpuSeconds]] | None

    @property
    def allowed(self) -> int:
        """How many cores the ranks may run on, all together; 0 if none has told."""
        return len({core for one in self.resources for core in _allowed(one)})

    @property
    def usable(self) -> float:
        """How many threads can compute at once: allowed cores, or a quota if that is less."""
        quotas = (one["cores"].get("quota") for one in self.resources if "cores" in one)
        return min([self.allowed, *filter(None, quotas)])

    @property
    def physical(self) -> int | None:
        """How many physical cores the ranks may run on; None where that isn't known.

        It is if all of them may run on the same.
        """
        told = {
            (tuple(_allowed(one)), one.get("cores", {}).get("physical")) for one in self.resources
        }
        return told.pop()[1] if len(told) == 1 else None

    @property
    def bound(self) -> str | None:
        """How ranks came to have fewer cores than threads though they may use more, or None.

        A framework binds its process when it is imported, if variables such as ``OMP_PROC_BIND``
        say so: to the same core in each.
        """
        each = [set(one.get("cpu_affinity") or _allowed(one)) for one in self.resources]
        cores = set().union(*each)
        threads = self.threads // max(1, len(each))
        least = min(map(len, each), default=0)
        alone = any(
            len(own) < min(threads, len(_allowed(one)))
            for own, one in zip(each, self.resources, strict=True)
        )
        if not alone and len(cores) >= min(self.threads, self.allowed):
            return None
        return (
            f"{self.threads} threads of {self.name} are bound to core"
            f"{'s' * (len(cores) > 1)} {', '.join(map(str, sorted(cores)))}"
            f"{f', one worker to {least}' * (least < len(cores))}, of {self.allowed} that they may "
            "use: a variable such as OMP_PROC_BIND binds them, or something else in their "
            "environment"
        )

    @property
    def load(self) -> Load | None:
        """The load of the host during the windows; None where a rank does not tell it."""
        if self.windows is None or not self.allowed:
            return None
        return load(self.allowed, self.threads, self.windows, self.name)

    @property
    def caveats(self) -> list[Caveat]:
        """What speaks against a run on this host."""
        found = []
        if self.allowed:
            found.append(oversubscribed(self.threads, self.usable, self.name))
        if self.physical and self.physical < self.threads <= self.usable:
            shared = f"{self.threads} threads on {self.physical} physical cores of {self.name}"
            found.append(Caveat(Code.shared_cores, shared))
        if self.bound is not None:
            found.append(Caveat(Code.bound, self.bound))
        if self.load is not None:
            found.append(throttled(self.load.throttled_cores, self.threads, self.name))
            if self.load.too_noisy is not None:
                found.append(Caveat(Code.noisy, self.load.too_noisy))
        return [caveat for caveat in found if caveat is not None]


def caveats(hosts: Sequence[Host]) -> list[Caveat]:
    """What speaks against a run on these hosts: each of them, and how they differ."""
    found = [caveat for host in hosts for caveat in host.caveats]
    cores = {host.name: host.usable for host in hosts if host.allowed}
    if len(set(cores.values())) > 1:
        each = ", ".join(f"{number:g} cores on {name}" for name, number in cores.items())
        found.append(Caveat(Code.unlike_hosts, each))
    return found


def _allowed(resources: Mapping[str, Any]) -> Sequence[int]:
    """The cores that a rank may run on; none where it does not say."""
    return list(resources.get("cores", {}).get("allowed", ()))
