import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distlab.data import dataset
from distlab.data.asked import DataOptions
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Options
from distlab.runs.contents import check, planned_cells, recorded_cells
from distlab.runs.plan import Cell, once
from distlab.runs.recorded_plan import plain
from distlab.runs.session import Session

Of = Callable[..., Options]


@pytest.fixture
def options(experiment: Callable[..., Experiment]) -> Of:
    return lambda *overrides: experiment(*overrides).options


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str, str]:
    """Folders A, B and C with IDX files; the first and the last hold the same."""
    for name, seed in (("A", 1), ("B", 2), ("C", 1)):
        random = np.random.default_rng(seed)
        (tmp_path / name).mkdir()
        for split, count in (("train", 20), ("t10k", 10)):
            images = random.integers(0, 256, (count, 28, 28), np.uint8)
            labels = random.integers(0, 10, count, np.uint8)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
                (tmp_path / name / f"{split}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return str(tmp_path / "A"), str(tmp_path / "B"), str(tmp_path / "C")


def lies_in(folder: str) -> tuple[str, str]:
    return "data=mnist", f"data.dir={folder}"


def as_recorded(cells: list[Cell]) -> list[dict[str, Any]]:
    return list(json.loads(json.dumps([plain(cell) for cell in cells])))


def test_one_content_in_two_folders_is_one_cell_and_another_content_another(
    options: Of, folders: tuple[str, str, str]
) -> None:
    found = planned_cells([options(*lies_in(folder)) for folder in folders], Session(), False)
    assert [cell.options.data.dir for cell in once(found)] == list(folders[:2])
    assert found[0].data == f"idx:{str(found[0].checksum)[:8]}"


def test_data_that_cannot_be_loaded_are_told_when_it_is_their_turn(options: Of) -> None:
    found = planned_cells(
        [options(*lies_in("/nowhere")), options(*lies_in("/nor here"))], Session(), False
    )
    assert [cell.checksum for cell in found] == [None, None]
    assert len(once(found)) == 2


def test_a_study_goes_on_with_its_data_wherever_they_lie(
    options: Of, folders: tuple[str, str, str]
) -> None:
    a, b, c = folders
    session = Session()
    cells = planned_cells([options(*lies_in(a)), options(*lies_in(b))], session, False)
    again = recorded_cells(as_recorded(cells), {}, [c], options(), session)
    assert [cell.options.data.dir for cell in again] == [c, b]
    assert [cell.key for cell in again] == [cell.key for cell in cells]
    # With no folder named they are where they were, whatever this command's own data are.
    again = recorded_cells(as_recorded(cells), {}, [], options(*lies_in(c)), session)
    assert [cell.options.data.dir for cell in again] == [a, b]


def test_other_data_than_the_recorded_ones_are_refused_with_both_named(
    options: Of, folders: tuple[str, str, str]
) -> None:
    a, b, _ = folders
    session = Session()
    (cell,) = planned_cells([options(*lies_in(a))], session, False)
    other = session.dataset(DataOptions("mnist", b), False)
    with pytest.raises(DistlabError) as caught:
        recorded_cells(as_recorded([cell]), {}, [b], options("study=a"), session)
    assert caught.value.asked == f"data.dir={b}"
    assert other.checksum in caught.value.found and str(cell.checksum) in caught.value.found
    assert f"data.dir={a}" in caught.value.fix
    with pytest.raises(DistlabError, match=other.name):
        check(cell, other)
    check(cell, session.dataset(cell.options.data, False))


def test_a_cell_recorded_without_a_checksum_has_that_of_its_runs(
    options: Of, folders: tuple[str, str, str]
) -> None:
    a, b, _ = folders
    session = Session()
    (cell,) = planned_cells([options(*lies_in(a))], session, False)
    old = as_recorded([cell])
    del old[0]["data"]["sha256"]
    checksum = str(cell.checksum)
    (again,) = recorded_cells(old, {cell.by_name: {checksum}}, [], options(), session)
    assert (again.checksum, again.key) == (checksum, cell.by_name), "its runs are found by this key"
    assert recorded_cells(as_recorded([again]), {}, [], options(), session) == [again]
    with pytest.raises(DistlabError, match=dataset.called(checksum)):
        recorded_cells(old, {cell.by_name: {checksum}}, [b], options("study=a"), session)
    with pytest.raises(DistlabError, match="begin a study anew"):
        recorded_cells(old, {cell.by_name: {checksum, "b" * 64}}, [], options("study=a"), session)
    # Of the canonical sets, the key is what it was.
    embedded = replace(cell, options=options(), checksum=dataset.MNIST5K_CHECKSUM)
    assert embedded.key == embedded.by_name
