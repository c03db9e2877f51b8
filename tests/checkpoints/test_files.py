import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from distlab.backends.base import OptimizerState
from distlab.checkpoints.archive import DamagedError
from distlab.checkpoints.files import EPOCH, RUN_BYTES, STATE, Checkpoints
from distlab.checkpoints.state import State
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.models.spec import ModelSpec
from distlab.models.weights import draw


@pytest.fixture
def spec(experiment: Callable[..., Experiment]) -> ModelSpec:
    return experiment().spec


@pytest.fixture(params=["folder", "file", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "folder": str(tmp_path / "a b" / "here"),
        "file": f"file://{tmp_path}/there",
        "memory": f"memory://{tmp_path}",
    }[request.param]


def state(spec: ModelSpec, epoch: int) -> State:
    adam = OptimizerState.zero(spec)
    arrays = {
        "weights": draw(spec, epoch),
        "first_moment": adam.first_moment,
        "second_moment": adam.second_moment,
    }
    return State(epoch, 31 * epoch, arrays)


def kept(address: str, spec: ModelSpec, said: list[str] | None = None) -> Checkpoints:
    """Four states of which the newest two are kept, and four epochs."""
    told = [] if said is None else said
    files = Checkpoints(address, 2, told.append)
    for epoch in range(4):
        files.save(EPOCH, epoch, b"%d" % epoch)
        files.save(STATE, epoch + 1, state(spec, epoch + 1).encoded())
    return files


def test_the_newest_states_and_all_epochs_are_kept(address: str, spec: ModelSpec) -> None:
    files = kept(address, spec)
    assert (files.numbers(STATE), files.numbers(EPOCH)) == ([3, 4], [0, 1, 2, 3])
    assert [one.epoch for one, _ in files.states(spec)] == [4, 3]
    assert files.load(EPOCH, 2) == b"2"
    # Another process finds the same.
    assert Checkpoints(address, 2, print).numbers(STATE) == [3, 4]


def test_what_the_run_was_asked_for_comes_back(address: str, spec: ModelSpec) -> None:
    files = kept(address, spec)
    files.note({"options": {"seed": 3}})
    assert files.noted() == {"options": {"seed": 3}}
    files.note({"options": "x" * RUN_BYTES})
    with pytest.raises(DamagedError):
        files.noted()


def test_an_object_store_is_asked_for_no_more_than_there_is(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some answer a range beyond the end with 416."""
    files = kept("memory://ranges", spec)
    files.note({"options": 1})
    cat_file = MemoryFileSystem.cat_file

    def strict(self: MemoryFileSystem, path: str, start: int = 0, end: int = 0) -> bytes:
        if end > self.size(path):
            raise OSError(22, "The requested range is not satisfiable")
        return bytes(cat_file(self, path))

    monkeypatch.setattr(MemoryFileSystem, "cat_file", strict)
    assert files.noted() == {"options": 1}


@pytest.mark.parametrize("fault", ["cut", "changed", "another's", "empty"])
def test_a_damaged_state_is_told_and_the_one_before_it_taken(
    address: str, spec: ModelSpec, fault: str
) -> None:
    said: list[str] = []
    files = kept(address, spec, said)
    store, folder = fsspec.core.url_to_fs(address)
    whole = bytearray(store.cat_file(f"{folder}/state-000004.npz"))
    whole[-2000] ^= 1
    damaged = {
        "cut": bytes(whole[:-7]),
        "changed": bytes(whole),
        "another's": state(spec, 2).encoded(),
        "empty": b"",
    }[fault]
    store.pipe_file(f"{folder}/state-000004.npz", damaged)
    assert [one.epoch for one, _ in files.states(spec)] == [3]
    (told,) = said
    assert "state-000004.npz cannot be used" in told and "the one before it is taken" in told


def test_nothing_is_left_once_they_are_removed(address: str, spec: ModelSpec) -> None:
    files = kept(address, spec)
    files.note({})
    files.remove()
    store, folder = fsspec.core.url_to_fs(address)
    assert not store.exists(folder) or store.ls(folder) == []


def test_where_nothing_was_kept_there_is_nothing(address: str, spec: ModelSpec) -> None:
    files = Checkpoints(address, 2, print)
    assert files.numbers(STATE) == [] == list(files.states(spec))
    files.remove()


def test_a_file_is_there_whole_or_not_at_all(
    tmp_path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = kept(str(tmp_path), spec)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.save(STATE, 5, b"half of it")
    assert files.numbers(STATE) == [3, 4]
    assert not [file for file in tmp_path.iterdir() if "part" in file.name]


def test_what_a_stores_client_raises_is_told_as_of_files(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoAnswerError(Exception):
        pass

    def away(*_: object, **__: object) -> None:
        raise NoAnswerError("could not connect to the endpoint")

    files = kept("memory://away", spec)
    files.note({})
    for name in ("ls", "size", "cat_file"):
        monkeypatch.setattr(MemoryFileSystem, name, away)
    for ask in (files.noted, lambda: files.numbers(STATE), lambda: files.load(EPOCH, 1)):
        with pytest.raises(OSError, match="could not connect"):
            ask()


@pytest.mark.parametrize(
    ("address", "found", "fix"),
    [
        ("nowhere://x", "Protocol not known: nowhere", "a folder of this machine"),
        ("s3://bucket/states", "Install s3fs", "pip install s3fs\nor a folder"),
        ("gs://bucket/states", "install gcsfs", "pip install gcsfs\nor a folder"),
        ("abfs://container/states", "Install adlfs", "pip install adlfs\nor a folder"),
    ],
)
def test_an_address_of_no_kind_that_is_installed_is_refused(
    address: str, found: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DistlabError, match=found) as refused:
        Checkpoints(address, 2, print)
    assert refused.value.asked == f"checkpoint.dir={address}"
    assert refused.value.fix.startswith(fix)
