"""How much CPU time control groups let a process have, and how often they stopped it.

A container, a batch system or systemd may give a process less time than its cores have: at most
``quota`` microseconds of all cores in each ``period`` (``cpu.max`` of control groups' version 2,
``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` of version 1; Linux kernel documentation,
"Control Group v2", section CPU, and "CFS Bandwidth Control"). A group has no more than the groups
above it, and is stopped when any of them has used up its time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class Group:
    """A control group that bounds a process's CPU time.

    Attributes
    ----------
    folder:
        Where the kernel shows it.
    cores:
        How many cores' time it may have in all.
    """

    folder: Path
    cores: float

    def throttled_s(self) -> float:
        """Seconds that its processes were stopped on a core, summed over cores, since it exists."""
        counts = dict(line.split() for line in _read(self.folder / "cpu.stat").splitlines())
        if "throttled_usec" in counts:
            return int(counts["throttled_usec"]) / 1e6
        return int(counts.get("throttled_time", 0)) / 1e9


def bounds(root: Path = ROOT) -> tuple[Group, ...]:
    """All groups that bound this process's CPU time, the innermost first; none if nothing does.

    Parameters
    ----------
    root:
        Where ``/proc`` and ``/sys`` are; tests have made-up ones.
    """
    return tuple(
        Group(folder, cores) for folder in _folders(root) if (cores := _granted(folder)) is not None
    )


def _granted(folder: Path) -> float | None:
    """How many cores' time the group alone gives; None for any."""
    found = _read(folder / "cpu.max").split()  # version 2: "QUOTA PERIOD" or "max PERIOD"
    if not found:
        found = [_read(folder / f"cpu.cfs_{what}_us").strip() for what in ("quota", "period")]
    quota, period = (*found, "", "")[:2]
    if not (quota.isdecimal() and period.isdecimal()):  # "max", "-1", or nothing at all
        return None
    return int(quota) / int(period)


def _folders(root: Path) -> Iterator[Path]:
    """The group of this process for CPU time and those above it, as far as they are shown."""
    mounts = [line.split() for line in _read(root / "proc/self/mountinfo").splitlines()]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            # ID PARENT DEVICE ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE SUPER_OPTIONS
            kind, *_, options = mount[mount.index("-") + 1 :]
            version_2 = kind == "cgroup2" and not controllers
            if version_2 or (kind == "cgroup" and controllers and "cpu" in options.split(",")):
                top = root / mount[4].lstrip("/")
                yield from _upwards(top, path, mount[3])
                break


def _upwards(top: Path, path: str, mounted: str) -> Iterator[Path]:
    """The group ``path`` and those above it, where the group ``mounted`` is shown at ``top``.

    In a container the kernel may name a group by a path that leads nowhere in there; what is shown
    at the top is then the container's own.
    """
    inside = Path(path).relative_to(mounted) if Path(path).is_relative_to(mounted) else Path()
    folder = top / inside
    if ".." in inside.parts or not folder.is_dir():
        folder = top
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _read(path: Path) -> str:
    """A file's text; nothing where there is no such file, or none that may be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
