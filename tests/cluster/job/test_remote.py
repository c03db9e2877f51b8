"""Ray's client is imitated here."""

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from distlab.cluster.job import remote
from distlab.cluster.job.remote import Job
from distlab.errors import DistlabError
from distlab.masking import mask


class Client:
    """A head: what it says of a job, poll by poll; an exception is raised."""

    def __init__(self, polls: list[Any]) -> None:
        self.polls, self.stopped = polls, False

    def get_job_status(self, id: str) -> Any:
        found = self.polls[0]
        if isinstance(found, Exception):
            self.polls.pop(0)
            raise found
        return SimpleNamespace(value=found[0], is_terminal=lambda: found[0] != "RUNNING")

    def get_job_logs(self, id: str) -> str:
        return str(self.polls.pop(0)[1])

    def get_job_info(self, id: str) -> Any:
        return SimpleNamespace(driver_exit_code=3, message="it failed\nlast logs")

    def stop_job(self, id: str) -> None:
        self.stopped = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "EVERY_S", 0.0)


def job(*polls: Any) -> Job:
    return Job("distlab-1", "http://head:8265", Client(list(polls)))


def test_what_a_job_prints_is_shown_once_by_whole_lines_and_not_rays_own() -> None:
    begins = "INFO -- Runtime env is setting up.\nRunning entrypoint for job distlab-1: python\n"
    shown: list[str] = []
    one = job(
        ("RUNNING", ""),
        ("RUNNING", begins + "a\nb"),
        ConnectionError("a moment"),
        ("RUNNING", begins + "a\nbc\n"),
        ("FAILED", begins + "a\nbc\nd"),
    )
    assert one.follow(shown.append) == "FAILED"
    assert shown == ["a\n", "bc\n", "d"]
    assert (one.code, one.why) == (3, "it failed")


def test_of_a_job_that_never_begins_rays_own_words_are_shown() -> None:
    shown: list[str] = []
    one = job(("RUNNING", "INFO -- a\n"), ("FAILED", "INFO -- a\nno environment\n"))
    assert one.follow(shown.append) == "FAILED"
    assert shown == ["INFO -- a\nno environment\n"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ('Pool: (Caused by Error("x: [Errno 111] Connection refused"))', "Connection refused"),
        ("Pool: (E(<object>, 'Connection to a timed out. (10.0)'))", "Connection to a timed out"),
    ],
)
def test_a_head_that_answers_no_more_is_told_with_how_to_look(
    error: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", -1.0)
    with pytest.raises(DistlabError, match="follow the job distlab-1 at") as caught:
        job(ConnectionError(error)).follow(print)
    assert f": {told}\nthe job may go on" in caught.value.found
    assert "ray job logs --address http://head:8265 distlab-1\n" in caught.value.fix


def test_a_job_that_does_not_end_is_followed_no_longer_than_asked() -> None:
    assert job(*[("RUNNING", "")] * 1000).follow(print, 1e-9) == "RUNNING"


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ConnectionError("Failed to connect to Ray at address"), "ray[default]"),
        (RuntimeError("Authentication required: token"), "auth_token"),
        (RuntimeError("Version check returned 404. Jobs API is not supported"), "ray[default]"),
        (RuntimeError("Ray version 1.0 is running on the cluster."), "cluster=existing"),
    ],
)
def test_why_there_is_no_job_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception, fix: str
) -> None:
    def refusing(address: str) -> Any:
        raise error

    monkeypatch.setattr(remote, "_client", refusing)
    with pytest.raises(DistlabError) as caught:
        Job.begin("http://head:8265", "distlab-1", "true", {}, None)
    assert fix in caught.value.fix and "***" not in mask(caught.value.fix)
    assert str(error) in caught.value.found or "asks for a token" in caught.value.found


@pytest.mark.slow
def test_where_nothing_listens_the_head_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ray would believe it before the address.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:2")
    with pytest.raises(DistlabError, match=r"127\.0\.0\.1:1 ") as caught:
        Job.begin("http://127.0.0.1:1", "distlab-1", "true", {}, None)
    assert "ray[default]" in caught.value.fix and caught.value.may_pass
    assert "RAY_ADDRESS" not in os.environ


def test_a_job_that_ray_took_while_the_command_was_told_to_end_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []

    def submit(**given: Any) -> None:
        raise KeyboardInterrupt

    client = SimpleNamespace(submit_job=submit, stop_job=stopped.append)
    monkeypatch.setattr(remote, "_client", lambda address: client)
    with pytest.raises(KeyboardInterrupt):
        Job.begin("http://head:8265", "distlab-1", "true", {}, None)
    assert stopped == ["distlab-1"]


def test_a_job_has_time_to_record_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    client = SimpleNamespace(submit_job=lambda **given: asked.update(given))
    monkeypatch.setattr(remote, "_client", lambda address: client)
    Job.begin("http://head:8265", "distlab-1", "exec true", {"A": "1"}, None)
    variables = asked["runtime_env"]["env_vars"]
    assert int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) >= 4 and variables["A"] == "1"
    assert asked["submission_id"] == "distlab-1" and "working_dir" not in asked["runtime_env"]


def test_a_head_that_takes_a_question_and_says_nothing_is_waited_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"http://127.0.0.1:{head.getsockname()[1]}"
        with pytest.raises(DistlabError, match="no Jobs API answers there") as caught:
            Job.begin(address, "distlab-1", "true", {}, None)
    assert "timed out" in caught.value.found
