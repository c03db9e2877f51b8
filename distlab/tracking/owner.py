"""Who writes a run or a study: a process on a host, since when, and whether it is still there.

The tag ``owner`` of a run names its process. A study may be taken up by many commands, one after
the other: each claims it by a tag of its own (``owner.`` and a token), and says there when it has
left. What a process left RUNNING that is gone, killed or out of memory, is ended by the next
command on the store (:func:`end_orphans`).
"""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from distlab.errors import DistlabError

_log = logging.getLogger(__name__)
OWNER, CLAIM, REASON = "owner", "owner.", "ended_because"
ASKS, HOLDS, LEFT = "asks", "holds", "left"
PAGE = 1000
SETTLED_S = 30.0


@dataclass(frozen=True)
class Owner:
    """A process, told so that another one can find out whether it still runs.

    Attributes
    ----------
    host, pid:
        Where, and its number there.
    since:
        When it became the owner: ISO 8601, UTC.
    started:
        When the process started, in clock ticks since the boot: a number that is used again has
        another one.
    boot, space:
        The boot and the table of processes in which ``pid`` and ``started`` mean something.
    machine:
        The machine's own id, where it has one.
    state:
        ``asks``, ``holds`` or ``left``.
    """

    host: str
    pid: int
    since: str
    started: str | None
    boot: str
    space: str
    machine: str
    state: str = HOLDS

    @property
    def alive(self) -> bool | None:
        """Whether it still runs; None if that can't be asked from here."""
        here = _here()
        if (self.host, self.boot, self.space) == (here.host, here.boot, here.space):
            return self.started is not None and _started(self.pid) == self.started
        # The same machine after another boot has none of its processes.
        same = self.machine and (self.host, self.machine) == (here.host, here.machine)
        begun = datetime.fromisoformat(self.since).timestamp()
        if same and self.boot != here.boot and begun < psutil.boot_time():
            return False
        return None

    @property
    def process(self) -> tuple[object, ...]:
        """What it is, whatever it owns and since when."""
        return self.host, self.boot, self.space, self.pid, self.started

    @property
    def told(self) -> str:
        """In words: ``process 4711 on host gpu3, since 2026-01-31T12:00:00+00:00``."""
        return f"process {self.pid} on host {self.host}, since {self.since}"


def tags() -> dict[str, str]:
    """The tag of a run that this process writes."""
    return {OWNER: _as_tag(me())}


def claim_tags() -> dict[str, str]:
    """The tag of a study that this process begins."""
    return {f"{CLAIM}{uuid.uuid4().hex}": _as_tag(me())}


def me(state: str = HOLDS) -> Owner:
    """The owner that this process is from now on."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Owner(**{**asdict(_here()), "since": now, "state": state})


def of(run: Run) -> list[Owner]:
    """The owners of a run or a study that haven't left it; records of before have none."""
    return list(_claims(run.data.tags, OWNER).values())


def claim(
    client: MlflowClient,
    study: str,
    take_over: bool = False,
    say: Callable[[str], None] = _log.info,
    asked: str | None = None,
) -> str:
    """Become the only owner of a study or a run.

    Each claimant writes a tag of its own and then reads those of others, so that of two which come
    at the same moment one at least sees the other. Who sees an owner or an earlier token withdraws.

    Parameters
    ----------
    client:
        The store.
    study:
        The id of the study or the run.
    take_over:
        Whether to take it from an owner on another host that can't be asked.
    say:
        Where to say that a dead owner's is taken over.
    asked:
        What the command asked for; ``study=ID`` by default.

    Returns
    -------
    str
        The name of the tag, for :func:`leave`.

    Raises
    ------
    DistlabError
        If another process has it.
    """
    asked = asked or f"study={study}"
    before = _claims(client.get_run(study).data.tags)
    for one in before.values():
        if one.process == _here().process:
            continue
        if one.alive or (one.alive is None and not take_over):
            raise owned(asked, one)
        state = "is gone" if one.alive is False else "cannot be asked"
        say(f"{asked.replace('=', ' ')} is taken over: its owner {state} ({one.told})")
    name = f"{CLAIM}{uuid.uuid4().hex}"
    client.set_tag(study, name, _as_tag(me(ASKS)))
    given_up = time.monotonic() + SETTLED_S
    while others := _others(client, study, {name, *before}):
        winner = min(others, key=lambda other: (others[other].state != HOLDS, other))
        if others[winner].state == HOLDS or winner < name or time.monotonic() > given_up:
            _without(client, study, name)
            raise owned(asked, others[winner])
        time.sleep(0.05)
    client.set_tag(study, name, _as_tag(me()))
    found = client.get_run(study).data.tags
    for stale in [tag for tag in found if tag.startswith(CLAIM)]:
        if stale in before or stale not in _claims(found):
            _without(client, study, stale)
    return name


def left() -> str:
    """What the tag of a claim says once its process has left the study."""
    return _as_tag(me(LEFT))


def end_orphans(client: MlflowClient) -> list[str]:
    """End as KILLED what processes of this host left RUNNING that are gone.

    Runs of living processes, of other hosts and of before there were owners are left alone.

    Returns
    -------
    list of str
        Their ids.
    """
    ended = []
    try:
        experiments = [found.experiment_id for found in client.search_experiments()]
        running = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=PAGE)
        for run in running:
            owners = of(run)
            if owners and all(owner.alive is False for owner in owners):
                end(client, run.info.run_id, f"its process is gone: {owners[-1].told}")
                ended.append(run.info.run_id)
    except MlflowException:
        # A command that cannot clean up behind others can still do its own work.
        _log.warning("no orphans were looked for", exc_info=True)
    return ended


def end(client: MlflowClient, run_id: str, why: str) -> None:
    """End a run as KILLED and say why."""
    client.set_tag(run_id, REASON, why)
    client.set_terminated(run_id, "KILLED")


def owned(asked: str, owner: Owner) -> DistlabError:
    """The error for what was asked of a study or a run that another process works at."""
    if owner.alive is None:
        return DistlabError(
            asked,
            f"{owner.told}, runs it, and cannot be asked from host {_here().host} whether it still "
            "does",
            f"if that process has ended: {asked} take_over=true\nelse wait until it has",
        )
    return DistlabError(
        asked,
        f"{owner.told}, runs it; nothing was done here",
        f"wait until it has ended, or end it (kill -INT {owner.pid}), then: {asked}",
    )


def _others(client: MlflowClient, study: str, known: Iterable[str]) -> dict[str, Owner]:
    """The claims of others that came in the meantime and whose processes may still run."""
    found = _claims(client.get_run(study).data.tags)
    return {
        name: one for name, one in found.items() if name not in known and one.alive is not False
    }


def _claims(tagged: Mapping[str, str], start: str = CLAIM) -> dict[str, Owner]:
    """The owners that tags tell, but those that have left."""
    found = {}
    for name, value in tagged.items():
        if name.startswith(start):
            try:
                one = Owner(**json.loads(value))
                datetime.fromisoformat(one.since)
                if isinstance(one.pid, int):
                    found[name] = one
            except (ValueError, TypeError, RecursionError):
                continue  # no tag of distlab's
    return {name: one for name, one in found.items() if one.state != LEFT}


def _without(client: MlflowClient, study: str, name: str) -> None:
    """Delete a tag, which another process may do at the same moment."""
    try:
        client.delete_tag(study, name)
    except MlflowException:
        _log.info("the tag %s is gone already", name)


def _as_tag(owner: Owner) -> str:
    return json.dumps(asdict(owner))


@cache
def _here() -> Owner:
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        pid=pid,
        since="",
        started=_started(pid),
        boot=_line("/proc/sys/kernel/random/boot_id"),
        space=str(Path("/proc/self/ns/pid").readlink()),
        machine=_line("/etc/machine-id"),
    )


def _started(pid: int) -> str | None:
    """When a process of this machine started, in ticks since the boot; None if it has ended.

    Clocks may be set; ticks since the boot are not (``man 5 proc``: field 22 of /proc/PID/stat).
    """
    fields = _line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in ("Z", "X") else None


def _line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
