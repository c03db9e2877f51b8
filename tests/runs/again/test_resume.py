"""A run that is broken off and goes on: a real store and real files; ranks are threads, no Ray."""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from thread_backend import World, in_single_precision, train

from distlab import files
from distlab.checkpoints.files import STATE, Checkpoints
from distlab.checkpoints.state import State
from distlab.cluster import connect, restarts
from distlab.data import sources
from distlab.data.dataset import Dataset
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Options
from distlab.machine import ceiling
from distlab.outcome.events import Begun, Checkpoint, Event, Started
from distlab.outcome.record import Record
from distlab.outcome.summary import summarised
from distlab.runs import run
from distlab.runs.session import Session
from distlab.runs.shown.progress import Display
from distlab.tracking.sending import calls

pytestmark = pytest.mark.slow

JOB = ("gpus=2", "scaling=strong", "batch_size=4", "epochs=4", "measure_exchange=false")


class Engine:
    """Ranks that are threads, and a command that is broken off when so many states are told."""

    def __init__(self) -> None:
        self.ends_after: int | None = None
        self.starts: list[int] = []

    def lasting(
        self,
        jobs: Any,
        experiment: Experiment,
        dataset: Dataset,
        task: Any,
        log_dir: Path,
        most: int,
        start: Checkpoint | None = None,
        failure: str | None = None,
    ) -> Iterator[Event]:
        epoch = start.epoch if start else 0
        self.starts.append(epoch)
        yield Begun(f"g{len(self.starts)}", 0, 2, epoch, failure, time.time() if failure else None)
        yield from (Started(rank, "here", os.getpid()) for rank in (0, 1))
        state = State.decoded(start.state) if start and start.state else None
        every = task.checkpoint_every
        events = train(experiment, dataset, checkpoint_every=every, state=state)
        for event in restarts.in_step(events, 2):
            yield event
            if isinstance(event, Checkpoint) and event.epoch == self.ends_after:
                self.ends_after = None
                raise KeyboardInterrupt


class Command:
    """What a user starts, again and again, in one folder."""

    def __init__(self, options: Callable[..., Options], engine: Engine) -> None:
        self.engine = engine
        self._options = options
        self.count = 0

    def execute(self, *words: str) -> dict[str, Any]:
        return self._run(lambda *told: run.execute(*told), self._options(*JOB, *words))

    def go_on(self, run_id: str, *words: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
        # As Hydra composes it: with the defaults of any command.
        options = self._options(f"resume={run_id}", *words)
        named = [f"resume={run_id}", *overrides]
        return self._run(lambda *told: run.go_on(*told, named), options)

    def _run(self, act: Callable[..., dict[str, Any]], options: Options) -> dict[str, Any]:
        self.count += 1
        folder = Path(f"outputs/{self.count}").resolve()
        folder.mkdir(parents=True)
        with Display() as display, Session() as session:
            return act(options, folder, time.time(), display, session)

    def broken_off(self, epochs: int, *words: str) -> str:
        """A run that is broken off after so many epochs; its id."""
        self.engine.ends_after = epochs
        with pytest.raises(KeyboardInterrupt):
            self.execute(*words)
        (found,) = (one for one in self.runs() if one.info.status == "KILLED")
        return str(found.info.run_id)

    def runs(self) -> Any:
        tracking = self._options().tracking
        client = MlflowClient(tracking.uri)
        experiment = client.get_experiment_by_name(str(tracking.experiment))
        return client.search_runs([experiment.experiment_id])

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self._options().tracking.uri)


@pytest.fixture
def command(
    options: Callable[..., Options],
    dataset: Dataset,
    world: Callable[[int], World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Command:
    engine = Engine()
    monkeypatch.chdir(tmp_path)
    in_single_precision(monkeypatch)
    monkeypatch.setattr(restarts, "lasting", engine.lasting)
    monkeypatch.setattr(sources, "load", lambda *_, **__: dataset)
    monkeypatch.setattr(connect, "connect", lambda _: connect.Resources(2, 0, 1))
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(ceiling, "matrix_product_rate", lambda _: 1e9)
    return Command(options, engine)


SAME = ("samples_sha256", "final_weights_sha256", "first_losses", "train_loss", "test_accuracy")


@pytest.mark.parametrize("place", ["own folder", "memory"])
def test_it_ends_as_one_that_was_never_broken_off(
    command: Command,
    experiment: Callable[..., Experiment],
    dataset: Dataset,
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {
        "own folder": [],
        "memory": [f"checkpoint.dir=memory://{tmp_path}"],
    }[place]
    whole = Record(experiment(*JOB), dataset, 0.0)
    for event in train(experiment(*JOB), dataset):
        whole.add(event)
    damaged = place == "own folder"
    run_id = command.broken_off(2 + damaged, *words)
    assert f"go on with: python -m distlab.launch resume={run_id}" in capsys.readouterr().out
    if damaged:
        (newest,) = Path("outputs").rglob("state-000003.npz")
        newest.write_bytes(b"nothing")
    found = command.go_on(run_id[: 32 - 24 * damaged])
    assert ("state-000003.npz cannot be used" in capsys.readouterr().out) is damaged
    assert command.engine.starts == [0, 2]
    assert {name: found[name] for name in SAME} == {name: summarised(whole)[name] for name in SAME}
    assert found["mlflow"]["run_id"] == run_id
    assert (found["epochs"], found["restarts"]) == (4, 1)
    told = [(one["first_epoch"], one["epochs"]) for one in found["stretches"]]
    assert told == [(1, 2), (3, 2)]
    assert found["verified"], found["checks"]
    # One run in MLflow, with each epoch that was trained.
    (one,) = (one for one in command.runs() if one.info.run_id == run_id)
    assert one.info.status == "FINISHED" and "ended_because" not in one.data.tags
    history = command.client.get_metric_history(run_id, "test_accuracy")
    assert [entry.step for entry in history] == [1, 2, *[3] * (1 + damaged), 4]
    # What the run's own folder held is gone with its end; what the user named stays.
    address = one.data.tags["checkpoints"]
    left = Checkpoints(address, 2, print).numbers(STATE)
    assert left == ([] if place == "own folder" else [3, 4])


def test_only_a_run_whose_process_is_gone_is_taken_over(command: Command) -> None:
    run_id = command.broken_off(1)
    client = command.client
    owner = json.loads(client.get_run(run_id).data.tags["owner"])
    client.update_run(run_id, status="RUNNING")
    there = json.dumps({**owner, "host": "elsewhere", "machine": ""})
    client.set_tag(run_id, "owner", there)
    with pytest.raises(DistlabError, match="on host elsewhere") as refused:
        command.go_on(run_id)
    assert f"resume={run_id} take_over=true" in refused.value.fix
    assert client.get_run(run_id).data.tags["owner"] == there
    client.set_tag(run_id, "owner", json.dumps({**owner, "started": "1"}))
    assert command.go_on(run_id)["restarts"] == 1
    assert command.client.get_run(run_id).info.status == "FINISHED"


def test_what_cannot_be_is_refused_and_leaves_the_run_as_it_was(
    command: Command, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = command.broken_off(1)
    for words in (("epochs=9",), ("framework=tf",), ("model=lenet5", "seed=3")):
        with pytest.raises(DistlabError, match="as it was begun"):
            command.go_on(run_id, *words, overrides=words)
    with monkeypatch.context() as patch, pytest.raises(DistlabError, match="sha256 0000"):
        patch.setattr(sources, "load", lambda *_, **__: replace(dataset, checksum="1" * 64))
        command.go_on(run_id)
    place = Path(command.client.get_run(run_id).data.tags["checkpoints"]) / "run.json"
    whole = place.read_text()
    planted = json.loads(whole)
    planted["options"]["framework"]["name"] = "planted.module:Backend"
    damaged = ["", "[]", '{"options": {"epochs": "many"}}', '{"options": 1}']
    for text in (json.dumps(planted), *damaged):
        place.write_text(text)
        with pytest.raises(DistlabError, match=None if text in damaged else "planted") as refused:
            command.go_on(run_id)
        assert refused.value.asked == f"resume={run_id}"
    place.write_text(whole)
    assert command.engine.starts == [0]
    assert command.client.get_run(run_id).info.status == "KILLED"
    done = command.go_on(run_id)["mlflow"]["run_id"]
    with pytest.raises(DistlabError, match="ended in order"):
        command.go_on(done)
    with pytest.raises(DistlabError, match="there is no such run"):
        command.go_on("0" * 32)


def test_a_place_that_cannot_be_written_ends_no_training(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    summary = command.execute(f"checkpoint.dir={tmp_path}/file")
    command.execute("checkpoint.every=0")
    assert not list(Path("outputs").rglob("checkpoints"))
    assert summary["epochs"] == len(summary["epoch_time_s"]) == 4
    assert capsys.readouterr().out.count("checkpoints cannot be written") == 1


class Full:
    """A disk that takes no ``summary.json``, and a store that takes it if ``taken``."""

    def __init__(self, patch: pytest.MonkeyPatch, taken: bool) -> None:
        self.write, send = files.write, calls.send

        def write(path: Path, text: str | bytes) -> Path:
            if path.name == "summary.json":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return self.write(path, text)

        def sent(call: dict[str, Any], *told: Any) -> None:
            if call["call"] == "text" and not taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            send(call, *told)

        patch.setattr(files, "write", write)
        patch.setattr(calls, "send", sent)


def test_a_run_that_ends_on_a_full_disk_is_in_mlflow_or_goes_on_with_room_again(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        Full(patch, taken=True)
        whole = command.execute()
    run_id = whole["mlflow"]["run_id"]
    assert "summary.json cannot be written: No space left" in capsys.readouterr().out
    (file,) = (one for one in command.client.list_artifacts(run_id) if one.path == "summary.json")
    kept = json.loads(Path(command.client.download_artifacts(run_id, file.path)).read_text())
    assert kept["final_weights_sha256"] == whole["final_weights_sha256"]
    assert command.client.get_run(run_id).info.status == "FINISHED"

    with monkeypatch.context() as patch:
        Full(patch, taken=False)
        with pytest.raises(DistlabError, match="No space left on device; MLflow has") as refused:
            command.execute()
    (run_id,) = (one.info.run_id for one in command.runs() if one.info.status == "FAILED")
    assert f"resume={run_id}" in refused.value.fix
    found = command.go_on(run_id)
    # Nothing is trained again.
    assert command.engine.starts == [0, 0, 4]
    assert {name: found[name] for name in SAME} == {name: whole[name] for name in SAME}
    assert command.client.get_run(run_id).info.status == "FINISHED"
    assert command.client.get_run(run_id).data.metrics["throughput"] > 0
