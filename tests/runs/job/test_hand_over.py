"""What a command that is handed over is told, sends and does; Ray and the store are imitated."""

import shlex
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.options import ClusterMode, ClusterOptions, Options, TrackingOptions
from distlab.masking import learn
from distlab.runs.job import hand_over

ADDRESS = "http://head:8265"
STORE = "http://store:5000"


def options(uri: str | None = STORE) -> Options:
    cluster = ClusterOptions(mode=ClusterMode.job, address=ADDRESS)
    return Options(cluster=cluster, tracking=TrackingOptions(uri=uri, experiment="mine"))


class Remote:
    """A job that does what the test says."""

    status, text, code, why = "SUCCEEDED", "epoch 1\n", None, "a reason"
    stopped = "STOPPED"

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, *given: Any) -> "Remote":
        self.calls.append(given)
        folder = given[4]
        self.sent = {} if folder is None else {f.name: f.read_text() for f in folder.iterdir()}
        return self

    def follow(self, show: Any, most_s: float | None = None) -> str:
        show(self.text)
        if self.status == "lost":
            raise DistlabError("a", "b", "c")
        if self.status == "Ctrl-C":
            if most_s is None:
                raise KeyboardInterrupt
            return self.stopped
        return self.status

    def stop(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    one = Remote()
    monkeypatch.setattr(hand_over.Job, "begin", one.begin)
    monkeypatch.setattr(words, "_typed", ["cluster=job", f"cluster.address={ADDRESS}", "epochs=2"])
    monkeypatch.setattr(hand_over.outputs, "fetch", lambda *given: one.calls.append(given) or ["1"])
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield one
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_command_is_handed_over_shown_and_brought_back(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_over.hand_over(options(), tmp_path)
    (address, id, line, variables, folder), (_, job, place) = remote.calls
    assert (address, folder, variables["DISTLAB_JOB"]) == (ADDRESS, None, id)
    assert (job, place) == (id, tmp_path)
    assert line.startswith(
        f"mkdir -p ~/distlab-jobs/{id} && cd ~/distlab-jobs/{id} && exec python "
    )
    told = ["epochs=2", "cluster=existing", "cluster.address=auto", f"tracking.uri={STORE}"]
    assert shlex.split(line.partition("exec ")[2])[3:] == [*told, "tracking.experiment=mine"]
    assert "epoch 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "ends"), [(1, 1), (3, 3), (None, 1)])
def test_it_ends_as_the_job_does(
    remote: Remote, tmp_path: Path, code: int | None, ends: int
) -> None:
    remote.status, remote.code = "FAILED", code
    with pytest.raises(SystemExit) as caught:
        hand_over.hand_over(options(), tmp_path)
    assert caught.value.code == ends


def test_a_head_without_distlab_is_told(remote: Remote, tmp_path: Path) -> None:
    remote.status, remote.text = "FAILED", "/usr/bin/python: No module named distlab\n"
    with pytest.raises(DistlabError, match="has no distlab"):
        hand_over.hand_over(options(), tmp_path)


def test_ctrl_c_stops_the_job_and_brings_back_what_it_recorded(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.status = "Ctrl-C"
    with pytest.raises(hand_over.Stopped):
        hand_over.hand_over(options(), tmp_path)
    assert remote.calls[1] == "stop" and remote.calls[2][2] == tmp_path
    told = capsys.readouterr().out
    assert "stopping the job" in told and "the job is STOPPED\n" in told


def test_of_a_job_whose_head_is_lost_what_the_store_has_is_brought(
    remote: Remote, tmp_path: Path
) -> None:
    remote.status = "lost"
    with pytest.raises(DistlabError):
        hand_over.hand_over(options(), tmp_path)
    assert remote.calls[1][2] == tmp_path


def test_a_job_that_does_not_stop_is_told_with_the_command_that_may(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.status, remote.stopped = "Ctrl-C", "RUNNING"
    with pytest.raises(hand_over.Stopped):
        hand_over.hand_over(options(), tmp_path)
    told = " ".join(capsys.readouterr().out.split())
    assert f"is RUNNING, stop it with: ray job stop --address {ADDRESS} distlab-" in told


def test_a_command_that_the_job_advises_joins_as_a_job(
    remote: Remote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.text = "go on with: resume=1 cluster=existing cluster.address=auto tracking.uri=a\n"
    hand_over.hand_over(options(), tmp_path)
    advised = f"go on with: resume=1 cluster=job cluster.address={ADDRESS} tracking.uri=a\n"
    assert advised in capsys.readouterr().out


def test_a_job_that_cannot_be_stopped_is_told_with_the_command_that_may(
    remote: Remote, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise ConnectionError("the head is gone")

    remote.status = "Ctrl-C"
    monkeypatch.setattr(remote, "stop", lost)
    with pytest.raises(KeyboardInterrupt):
        hand_over.hand_over(options(), tmp_path)
    told = capsys.readouterr().out
    assert f"ray job stop --address {ADDRESS} distlab-" in told and "the head is gone" in told


def test_what_cannot_be_brought_back_is_told_and_costs_nothing(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def gone(*given: Any) -> list[str]:
        raise OSError("no store")

    monkeypatch.setattr(hand_over.outputs, "fetch", gone)
    hand_over.hand_over(options(), tmp_path)
    assert "stays in the store, and is not here: OSError: no store" in capsys.readouterr().out


def test_files_of_models_go_along(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.yaml").write_text(name)
    models = f"model={tmp_path}/a/net.yaml,{tmp_path}/b/net.yaml,mlp"
    monkeypatch.setattr(words, "_typed", ["-m", "cluster=job", models, "hydra.run.dir=/x"])
    hand_over.hand_over(options(), tmp_path)
    line = remote.calls[0][2]
    assert sorted(remote.sent.values()) == ["a", "b"] and "net.yaml" in remote.sent
    assert " && cp -r . ~/distlab-jobs/" in line and "hydra.run.dir" not in line
    multirun, model = shlex.split(line.partition("exec ")[2])[3:5]
    assert multirun == "-m" and model.startswith("model=./net.yaml,./") and model.endswith(",mlp")


@pytest.mark.parametrize("uri", [None, "sqlite:////a/b.db", "mlruns"])
def test_a_store_of_this_machine_is_refused(remote: Remote, tmp_path: Path, uri: str) -> None:
    with pytest.raises(DistlabError, match="where this store is not"):
        hand_over.hand_over(options(uri), tmp_path)
    assert not remote.calls


def test_a_secret_is_not_put_on_the_dashboard(remote: Remote, tmp_path: Path) -> None:
    uri = "http://me:hidden-word@store:5000"
    learn({"tracking.uri": uri})
    with pytest.raises(DistlabError, match="shown on Ray's dashboard") as caught:
        hand_over.hand_over(replace(options(), tracking=TrackingOptions(uri=uri)), tmp_path)
    assert "hidden-word" not in str(caught.value) and not remote.calls
