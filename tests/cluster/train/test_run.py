"""Ray Train as the second engine, on a real Ray, with a backend that starts at once; and torch
with both engines, on the same Ray."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy_sockets
import psutil
import pytest
import ray
from omegaconf import DictConfig
from ray.util.placement_group import placement_group_table

from distlab.cluster import connect, restarts
from distlab.cluster.pool import Jobs
from distlab.cluster.train import run as train
from distlab.data import sources
from distlab.data.dataset import Dataset
from distlab.errors import WorkerError
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.options import Options
from distlab.experiment.task import Task
from distlab.experiment.validate import validate
from distlab.outcome.events import Begun, Checkpoint, EpochDone, Event, Finished, Notice, Started
from distlab.runs import run
from distlab.runs.shown.progress import Display

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def experiment_of_two(compose: Callable[..., DictConfig]) -> Iterator[Experiment]:
    """Two workers, and a Ray on which they can run."""
    small = ("framework=torch", "execution=eager", "model=mlp", "data=mnist5k", "device=cpu")
    options = validate(compose(*small, "gpus=2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(numpy_sockets.__file__).parent))
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        connect.connect(options)
        yield resolve(options, gpus_present=0)
        ray.shutdown()


def actor(kind: str) -> psutil.Process:
    """The process of an actor of a class."""
    below = psutil.Process().children(recursive=True)
    return next(one for one in below if kind in " ".join(one.cmdline()))


def test_a_run_that_loses_a_rank_its_controller_and_its_mailbox_ends_as_one_that_lost_nothing(
    experiment_of_two: Experiment, dataset: Dataset, tmp_path: Path
) -> None:
    program = replace(experiment_of_two.program, local_batch=2)
    backend = "numpy_sockets:NumpyBackend"
    task = Task(backend, experiment_of_two.spec, program, 60, 4, seed=3, checkpoint_every=1)
    with Jobs() as jobs:
        told = jobs, experiment_of_two, dataset, task
        plain = list(restarts.lasting(*told, tmp_path / "actors", 0))
        events: list[Event] = []
        pids: dict[int, int] = {}
        # Once each: an epoch may come again.
        strikes: dict[int, Callable[[], None]] = {
            2: lambda: os.kill(pids[1], signal.SIGKILL),
            20: lambda: actor("TrainController").kill(),
            40: lambda: actor("Mailbox").kill(),
        }
        with closing(train.lasting(*told, tmp_path / "train", 3)) as happens:
            for event in happens:
                events.append(event)
                if isinstance(event, Started):
                    pids[event.rank] = event.pid
                elif isinstance(event, EpochDone) and event.rank == 0 and event.epoch in strikes:
                    strikes.pop(event.epoch)()
    ends = [{e.weights_sha256 for e in one if isinstance(e, Finished)} for one in (plain, events)]
    assert ends[0] == ends[1] and len(ends[0]) == 1
    begun = [event for event in events if isinstance(event, Begun)]
    assert [one.world_size for one in begun] == [2, 2, 2, 2]
    assert 0 == begun[0].epoch < begun[1].epoch < begun[2].epoch < begun[3].epoch
    assert begun[0].failure is None and begun[1].failure and begun[2].failure
    assert "worker 1 on" in begun[1].failure and "controller died" in begun[2].failure
    assert begun[3].failure and "what collects the events of workers died" in begun[3].failure
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("restart 3 of at most 3" in text for text in notices)
    assert {table["state"] for table in placement_group_table().values()} == {"REMOVED"}
    names = {path.name for path in (tmp_path / "train").iterdir()}
    assert names == {"rank-0.log", "rank-1.log"}


def test_torch_that_loses_a_rank_or_is_taken_up_again_ends_with_the_same_bits(
    experiment_of_two: Experiment,
    options: Callable[..., Options],
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Broken off with own actors, which start sooner, and resumed by Ray Train."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "load", lambda *_, **__: dataset)
    job = ("gpus=2", "batch_size=4", "epochs=12", "measure_exchange=false")
    lasting = restarts.lasting

    def killed(*told: Any, **named: Any) -> Iterator[Event]:
        pids: dict[int, int] = {}
        with closing(lasting(*told, **named)) as happens:
            for event in happens:
                yield event
                if isinstance(event, Started):
                    pids[event.rank] = event.pid
                elif isinstance(event, Checkpoint) and event.epoch == 3 and pids:
                    # Once: an epoch whose state did not arrive in time is trained again.
                    os.kill(pids[1], signal.SIGKILL)
                    pids.clear()

    with Display() as display, run.Session() as session:

        def command(act: Callable[..., dict[str, Any]], *words: str) -> dict[str, Any]:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            return act(options(*words), folder, time.time(), display, session)

        whole = command(run.execute, *job, "engine=actors")
        with monkeypatch.context() as patch:
            patch.setattr(restarts, "lasting", killed)
            patch.setattr(train, "lasting", killed)
            moved = command(run.execute, *job, "engine=actors", "failures.max=1")
            with pytest.raises(WorkerError, match="worker 1 on"):
                command(run.execute, *job, "engine=train", "failures.max=0")
        (named,) = re.findall(r"^go on with: .*(resume=\w+)", capsys.readouterr().out, re.MULTILINE)
        resumed = command(lambda *told: run.go_on(*told, [named]), named)
    for one in (moved, resumed):
        assert one["final_weights_sha256"] == whole["final_weights_sha256"]
        assert one["verified"], one["checks"]
        first, second = one["stretches"]
        assert first["group"] != second["group"] and first["epochs"] >= 3 and second["epochs"] > 0
    assert (moved["engine"], resumed["engine"]) == ("actors", "train")
