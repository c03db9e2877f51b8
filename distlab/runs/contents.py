"""The data of a study's cells: known by content when the plan is made, and found again later."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distlab.data import asked
from distlab.data.asked import DataOptions
from distlab.data.dataset import Dataset, called
from distlab.errors import DistlabError
from distlab.experiment.options import Options
from distlab.runs.plan import Cell, cells
from distlab.runs.recorded_plan import restored
from distlab.runs.session import Session

READ_FROM_FOLDERS = tuple(name for name, takes in asked.TAKES.items() if "dir" in takes)


def planned_cells(planned: Sequence[Options], session: Session, progress: bool) -> list[Cell]:
    """A cell for each combination of options, its data loaded and so known by content.

    Data that cannot be loaded are told of when it is the cell's turn to run.
    """
    found = [_loaded(one.data, session, progress) for one in planned]
    known = [replace(one, data=data) for one, (data, _) in zip(planned, found, strict=True)]
    return cells(known, [checksum for _, checksum in found])


def recorded_cells(
    plan: Sequence[Mapping[str, Any]],
    recorded: Mapping[str, set[str]],
    folders: Sequence[str],
    now: Options,
    session: Session,
) -> list[Cell]:
    """The cells of a recorded plan, with the folders in which their data lie now.

    Parameters
    ----------
    plan:
        The cells as they were recorded.
    recorded:
        For the key of each cell the checksums of the data that its finished runs had.
    folders:
        Those that the command names; each must hold the data of some cell.
    now:
        The command's options.
    session:
        What loads data.

    Raises
    ------
    DistlabError
        If a folder holds other data than every cell's, cannot be loaded, or the runs of a cell are
        of several data sets.
    """
    found = [_restored(number, values, recorded, now) for number, values in enumerate(plan)]
    wanted = [
        replace(cell.options.data, dir=folder)
        for folder in folders
        for cell in found
        if cell.options.data.name in READ_FROM_FOLDERS
    ]
    held = [(data, session.dataset(data, False)) for data in _different(wanted)]
    known = {cell.checksum for cell in found}
    for folder in folders:
        there = [dataset for data, dataset in held if data.dir == folder]
        if there and None not in known and not known & {one.checksum for one in there}:
            raise _other_data(folder, there[0], found)
    return [_placed(cell, held, now, session) for cell in found]


def check(cell: Cell, dataset: Dataset) -> None:
    """Refuse to run a cell with other data than its own.

    Raises
    ------
    DistlabError
        Naming both.
    """
    if cell.checksum not in (None, dataset.checksum):
        raise _other_data(cell.options.data.dir, dataset, [cell])


def _loaded(data: DataOptions, session: Session, progress: bool) -> tuple[DataOptions, str | None]:
    """The options with what is known once the data are loaded, and their checksum."""
    try:
        found = session.dataset(data, progress)
    except DistlabError:
        return data, None
    return asked.told(data, found.form), found.checksum


def _different(options: Sequence[DataOptions]) -> list[DataOptions]:
    """Each once."""
    return [one for place, one in enumerate(options) if one not in options[:place]]


def _restored(
    number: int, values: Mapping[str, Any], recorded: Mapping[str, set[str]], now: Options
) -> Cell:
    """A cell of a plan; one that was planned before data had checksums has that of its runs."""
    options, checksum, recorded_as = restored(values, now)
    (cell,) = cells([options], [checksum])
    cell = replace(cell, folder=f"{number}_{cell.folder[2:]}", recorded_as=recorded_as)
    if checksum is not None:
        return cell
    key = cell.by_name
    seen = recorded.get(key, set())
    if len(seen) > 1:
        names = " and ".join(sorted(map(called, seen)))
        raise DistlabError(
            f"study={now.study}",
            f"the runs of {cell.label} are of {names}: it was recorded when data of one name were "
            "taken for the same",
            "begin a study anew, without study=",
        )
    cell = replace(cell, checksum=next(iter(seen), None))
    return replace(cell, recorded_as=key) if seen and cell.identity != key else cell


def _placed(
    cell: Cell, held: Sequence[tuple[DataOptions, Dataset]], now: Options, session: Session
) -> Cell:
    """The cell with the place of its data: one of ``held``, its own, or the command's."""
    data = cell.options.data
    for there, dataset in held:
        if cell.checksum in (None, dataset.checksum):
            data = there
            break
    else:
        lost = data.dir is not None and not Path(data.dir).expanduser().is_dir()
        if now.data.name == data.name and (data.dir is None or lost):
            data = replace(data, dir=now.data.dir, file=now.data.file or data.file)
    checksum = cell.checksum
    if checksum is None:
        data, checksum = _loaded(data, session, False)
    return replace(cell, options=replace(cell.options, data=data), checksum=checksum)


def _other_data(folder: str | None, dataset: Dataset, cells: Sequence[Cell]) -> DistlabError:
    own = dict.fromkeys(f"{cell.data} (sha256 {cell.checksum})" for cell in cells)
    folders = dict.fromkeys(cell.options.data.dir or "/path/to/them" for cell in cells)
    return DistlabError(
        f"data.dir={folder}" if folder else f"data={dataset.name}",
        f"it holds {dataset.name} (sha256 {dataset.checksum}); the study's runs are of "
        f"{' and of '.join(own)}",
        f"the folder of the same data: data.dir={next(iter(folders))}\n"
        "or a study of its own, without study=",
    )
