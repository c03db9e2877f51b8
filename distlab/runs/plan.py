"""The plan of a study as data: its cells, how they are told apart, and how a plan grows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from distlab.data import asked
from distlab.data.dataset import called
from distlab.experiment.keys import LAYERS, known_by_content, known_by_layers
from distlab.experiment.model import digest
from distlab.experiment.names import NOT_OF_A_CELL, SURROUNDINGS, distinguishing, made_of, words
from distlab.experiment.options import Device, Engine, Execution, Options, Precision, flat
from distlab.experiment.training.standard import is_standard
from distlab.files import slug

# Options that were added later; cells in which they have these values keep the keys they had.
ADDED = {
    "precision": "fp32",
    "engine": "auto",
    "pin": "None",
    "placement": "pack",
    "network.interface": "None",
    "framework.execution_by_model": "{}",
    "framework.version": "None",
    "framework.environment": "auto",
}


@dataclass(frozen=True)
class Cell:
    """A combination of options, run ``options.repeats`` times.

    Attributes
    ----------
    folder:
        Where its runs go, below the study's folder.
    checksum:
        That of its data; None if they cannot be loaded.
    varied:
        Its options that tell it from the other cells of its study: see :func:`named`.
    recorded_as:
        The key under which an earlier sitting recorded it.
    """

    options: Options
    folder: str
    checksum: str | None = None
    varied: Mapping[str, str] = field(default_factory=dict)
    recorded_as: str | None = None

    @property
    def key(self) -> str:
        """Hash of all options that make up the cell, and of its data."""
        return self.recorded_as or self.identity

    @property
    def identity(self) -> str:
        """The key as it is now made.

        Whatever led to its execution, the hash is that of the framework with this one as default.
        """
        default = replace(
            self.options.framework, execution=Execution(self.execution), execution_by_model={}
        )
        made_up_of = flat(replace(self.options, framework=default, execution=None))
        if self.options.engine is Engine.actors:  # which a study takes anyway
            made_up_of["engine"] = str(Engine.auto)
        options = {
            name: str(value)
            for name, value in made_up_of.items()
            if not name.startswith((*NOT_OF_A_CELL, *LAYERS, "data."))
            and not is_standard(name, value)
            and ADDED.get(name) != str(value)
        }
        options |= known_by_layers(self.options.model.name, digest(self.options))
        if self.checksum is not None:
            options |= known_by_content(self.checksum)
        else:
            data = asked.given(self.options.data)
            folder = {"data": data.pop("dir")} if "dir" in data else {}
            named = {f"data.{name}": str(value) for name, value in data.items()}
            options |= {"data.name": self.options.data.name, **folder, **named}
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def by_name(self) -> str:
        """The key as it was made when data were known by name alone."""
        data = replace(self.options.data, dir=None)
        return replace(self, options=replace(self.options, data=data), checksum=None).identity

    @property
    def execution(self) -> str:
        """The execution asked for, else the framework's default for the model."""
        return self.options.resolved_execution

    @property
    def label(self) -> str:
        """The cell in a few words, with what tells it from the others of its study."""
        options = self.options
        where = options.gpus or ("1" if options.device is Device.cpu else "all")
        rounded = "" if options.precision is Precision.fp32 else f" {options.precision}"
        name = f"{options.framework.name} {self.execution} {options.model.name} x{where}{rounded}"
        return f"{name} {words(self.varied)}".rstrip()

    @property
    def data(self) -> str | None:
        """What its data are called; None if they cannot be loaded."""
        return None if self.checksum is None else called(self.checksum, self.options.data.name)

    def alone(self, device: Device) -> "Cell":
        """The cell with one worker on a device."""
        varied = {**self.varied, "device": str(device)} if "device" in self.varied else self.varied
        alone = replace(
            self,
            options=replace(self.options, gpus=1, device=device),
            folder=f"baseline_{self.folder}",
            varied=varied,
        )
        return replace(alone, recorded_as=alone.by_name if self.recorded_as else None)

    def is_alone(self, device: Device) -> bool:
        """Whether it has one worker on a device (without GPUs, ``device=auto`` is one on CPU)."""
        asked = self.options.gpus, self.options.device
        if device is Device.gpu:
            return asked in ((1, Device.gpu), (1, Device.auto))
        return asked in ((1, Device.cpu), (None, Device.cpu), (None, Device.auto))


def cells(planned: Sequence[Options], checksums: Sequence[str | None] | None = None) -> list[Cell]:
    """A cell for each combination of options, in the order of the plan.

    Parameters
    ----------
    planned:
        The combinations; :func:`once` leaves out what is planned twice.
    checksums:
        Those of their data; None where they cannot be loaded.
    """
    return [
        Cell(
            options, f"{number}_{slug(options.framework.name)}_{slug(options.model.name)}", checksum
        )
        for number, (options, checksum) in enumerate(
            zip(planned, checksums or [None] * len(planned), strict=True)
        )
    ]


def once(planned: Sequence[Cell]) -> list[Cell]:
    """The cells in their order, each of them once."""
    first: dict[str, Cell] = {}
    for cell in planned:
        first.setdefault(cell.identity, cell)
    return list(first.values())


def named(planned: Sequence[Cell]) -> list[Cell]:
    """The cells with names that hold whatever tells them apart."""
    told = distinguishing([made_of(cell.options, cell.data) for cell in planned])
    return [replace(cell, varied=varied) for cell, varied in zip(planned, told, strict=True)]


def twice(planned: Sequence[Cell]) -> list[str]:
    """A sentence for each combination that is the same cell as one before it."""
    first: dict[str, Cell] = {}
    said = []
    for cell in planned:
        kept = first.setdefault(cell.identity, cell)
        if kept is cell:
            continue
        before, again = flat(kept.options), flat(cell.options)
        differs = [name for name in again if again[name] != before.get(name)]
        one, other = (
            words({name: str(told[name]) for name in differs}) for told in (again, before)
        )
        what = f"{one} is the same cell as {other}" if differs else "one cell is asked for twice"
        said.append(f"{what} and runs once: {kept.label}")
    return list(dict.fromkeys(said))


def extended(
    recorded: Sequence[Cell], planned: Sequence[Cell], overrides: Sequence[str]
) -> tuple[list[Cell], list[Cell]]:
    """What a command runs that takes a study up again, and the study's plan from then on.

    Parameters
    ----------
    recorded:
        The plan so far.
    planned:
        The cells that the command composed.
    overrides:
        The command's overrides. Where they name nothing that makes up a cell, all recorded cells
        are run, with the command's ``repeats`` if it names them.
    """
    if goes_on(overrides):
        repeats = planned[0].options.repeats
        more = any(_name(override) == "repeats" for override in overrides)
        planned = [_repeated(one, repeats) if more else one for one in recorded]
    plan = {cell.identity: cell for cell in recorded}
    run = []
    for cell in planned:
        before = plan.get(cell.identity, cell)
        repeats = max(before.options.repeats, cell.options.repeats)
        plan[cell.identity] = _repeated(before, repeats)
        run.append(replace(cell, recorded_as=before.recorded_as))
    plan = {cell.identity: cell for cell in named(list(plan.values()))}
    return [replace(cell, varied=plan[cell.identity].varied) for cell in run], list(plan.values())


def goes_on(overrides: Sequence[str]) -> bool:
    """Whether a command that takes a study up names nothing that makes up a cell."""
    return all(_name(override).startswith(NOT_OF_A_CELL) for override in overrides)


def _repeated(cell: Cell, repeats: int) -> Cell:
    return replace(cell, options=replace(cell.options, repeats=repeats))


def surroundings(overrides: Sequence[str]) -> list[str]:
    """Those of a command's overrides that a command needs which takes its study up again."""
    return [override for override in overrides if _name(override).startswith(SURROUNDINGS)]


def _name(override: str) -> str:
    """What an override is about: ``+a.b=1`` is about ``a.b``."""
    return override.lstrip("+~").split("=")[0]
