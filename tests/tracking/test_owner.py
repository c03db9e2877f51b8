"""Owners in real stores: of processes that are really started and killed."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.tracking import owner
from distlab.tracking.run_writer import Tracker
from distlab.tracking.study_writer import StudyTracker

pytestmark = pytest.mark.slow


class Other:
    """Another process that owns things until it is killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        pid = self.process.pid
        self.owner = replace(owner.me(), pid=pid, started=owner._started(pid))
        self.tag = json.dumps(asdict(self.owner))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def other() -> Iterator[Other]:
    one = Other()
    yield one
    one.kill()


@pytest.fixture
def elsewhere() -> str:
    """The tag of an owner on a host that can't be asked."""
    return json.dumps(asdict(replace(owner.me(), host="gpu3", boot="another", machine="another")))


@pytest.fixture
def study(client: MlflowClient, begin: Callable[..., StudyTracker]) -> str:
    """A study that nobody owns."""
    tracker = begin()
    tracker.leave()
    tracker.close()
    return tracker.study


def test_a_process_lives_until_it_is_killed(other: Other) -> None:
    assert other.owner.alive is True
    # The number may be given to another process, which started at another time.
    assert replace(other.owner, started="1").alive is False
    other.process.send_signal(signal.SIGKILL)
    # Nobody has asked for its end: a zombie runs nothing.
    while other.owner.alive:
        pass
    assert other.owner.alive is False
    other.process.wait()
    assert other.owner.alive is False


def test_a_host_that_is_not_this_one_cannot_be_asked(other: Other) -> None:
    mine = owner.me()
    assert mine.alive is True
    for differs in ({"host": "gpu3"}, {"boot": "x"}, {"space": "pid:[7]"}):
        assert replace(mine, **differs).alive is None, differs
    rebooted = replace(mine, boot="before", since="2001-01-01T00:00:00+00:00", machine="m")
    assert replace(rebooted, machine="m").alive is None, "another machine of that name"


def test_the_same_machine_after_another_boot_has_none_of_its_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = replace(owner.me(), machine="m", boot="now")
    monkeypatch.setattr(owner, "_here", lambda: here)
    assert replace(here, boot="before", since="2001-01-01T00:00:00+00:00").alive is False
    later = "2101-01-01T00:00:00+00:00"
    assert replace(here, boot="other", since=later).alive is None, "a copy of this machine"


def test_what_runs_is_refused_with_who_and_since_when(
    client: MlflowClient, study: str, other: Other
) -> None:
    client.set_tag(study, "owner.1", other.tag)
    for take_over in (False, True):
        with pytest.raises(DistlabError) as caught:
            owner.claim(client, study, take_over)
        assert str(other.owner.pid) in caught.value.found
        assert other.owner.host in caught.value.found and other.owner.since in caught.value.found
        assert f"study={study}" in caught.value.fix
    assert list(owner.of(client.get_run(study))) == [other.owner]


def test_a_dead_owners_study_is_taken_over_and_said(
    client: MlflowClient, study: str, other: Other
) -> None:
    client.set_tag(study, "owner.1", other.tag)
    other.kill()
    said: list[str] = []
    owner.claim(client, study, say=said.append)
    assert len(said) == 1 and "is gone" in said[0] and str(other.owner.pid) in said[0]
    (left,) = owner.of(client.get_run(study))
    assert left.process == owner.me().process and left.state == owner.HOLDS


def test_an_owner_that_cannot_be_asked_is_followed_on_demand_only(
    client: MlflowClient, study: str, elsewhere: str
) -> None:
    client.set_tag(study, "owner.1", elsewhere)
    with pytest.raises(DistlabError, match="cannot be asked") as caught:
        owner.claim(client, study)
    assert "take_over=true" in caught.value.fix and "gpu3" in caught.value.found
    owner.claim(client, study, take_over=True)
    assert [one.host for one in owner.of(client.get_run(study))] == [owner.me().host]


def test_of_those_that_come_at_the_same_moment_one_gets_it(
    client: MlflowClient, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimants = [Other() for _ in range(4)]
    each = threading.local()
    monkeypatch.setattr(owner, "_here", lambda: each.here)
    together = threading.Barrier(len(claimants), timeout=60)

    def claims(one: Other) -> str:
        each.here = one.owner
        together.wait()
        try:
            owner.claim(client, study)
        except DistlabError:
            return "refused"
        return "mine"

    try:
        for _ in range(5):
            with ThreadPoolExecutor(len(claimants)) as pool:
                answers = list(pool.map(claims, claimants))
            each.here = claimants[0].owner
            (holder,) = owner.of(client.get_run(study))
            assert sorted(answers) == ["mine", "refused", "refused", "refused"]
            assert holder.process == claimants[answers.index("mine")].owner.process
            for name in [name for name in client.get_run(study).data.tags if "owner." in name]:
                client.delete_tag(study, name)
    finally:
        for one in claimants:
            one.kill()


def test_what_the_dead_left_running_is_ended_and_nothing_else(
    client: MlflowClient,
    begin: Callable[..., StudyTracker],
    options: TrackingOptions,
    other: Other,
    elsewhere: str,
) -> None:
    parent = begin()
    experiment = client.get_run(parent.study).info.experiment_id

    def run(*tags: str) -> str:
        values = {f"owner.{k}" if k else "owner": tag for k, tag in enumerate(tags)}
        return str(client.create_run(experiment, tags=values).info.run_id)

    def status(run_id: str) -> str:
        return str(client.get_run(run_id).info.status)

    dead, dead_study, taken_over = run(other.tag), run(other.tag, other.tag), run(other.tag)
    client.set_tag(taken_over, "owner.new", owner.tags()["owner"])
    left = [run(elsewhere), run(), run("{}"), run(owner.tags()["owner"]), parent.study, taken_over]
    # Other tests have left studies in the store.
    assert not {dead, dead_study} & set(owner.end_orphans(client)), "it lives"
    other.kill()
    assert sorted(owner.end_orphans(client)) == sorted([dead, dead_study])
    assert [status(one) for one in left] == ["RUNNING"] * len(left)
    ended = client.get_run(dead)
    assert (ended.info.status, status(dead_study)) == ("KILLED", "KILLED")
    assert ended.info.end_time
    assert str(other.owner.pid) in ended.data.tags["ended_because"]
    assert owner.end_orphans(client) == []


def test_runs_and_studies_name_their_process(
    client: MlflowClient,
    begin: Callable[..., StudyTracker],
    options: TrackingOptions,
    tmp_path: Path,
) -> None:
    tracker = begin()
    me = owner.me().process
    assert [one.process for one in owner.of(client.get_run(tracker.study))] == [me]
    with Tracker(options, "a run", tmp_path) as run:
        assert [one.process for one in owner.of(client.get_run(run.run_id))] == [me]
    tracker.finish("FINISHED", 1.0)
    assert owner.of(client.get_run(tracker.study)) == []
    again = StudyTracker.resume(options, tmp_path, tracker.study)
    assert len(owner.of(client.get_run(again.study))) == 1
    tags = client.get_run(again.study).data.tags
    assert len([name for name in tags if name.startswith("owner.")]) == 1, "what is past is gone"
