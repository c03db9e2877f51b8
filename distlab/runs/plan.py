"""The plan of a study as data: its cells, how they are told apart, and how a plan grows."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from distlab.experiment.options import Device, Execution, Options, Precision, flat

# What may differ between two sittings of a study without making another cell.
SURROUNDINGS = ("tracking.", "cluster", "data.dir")
NOT_OF_A_CELL = (*SURROUNDINGS, "repeats", "group_runs", "study")
# Options that were added later; cells in which they have these values keep the keys they had.
ADDED = {"precision": "fp32", "framework.execution_by_model": "{}"}


@dataclass(frozen=True)
class Cell:
    """A combination of options, run ``options.repeats`` times.

    Attributes
    ----------
    folder:
        Where its runs go, below the study's folder.
    """

    options: Options
    folder: str

    @property
    def key(self) -> str:
        """Hash of all options that make up the cell.

        Whatever led to its execution, the hash is that of the framework with this one as default.
        """
        default = replace(
            self.options.framework, execution=Execution(self.execution), execution_by_model={}
        )
        made_up_of = flat(replace(self.options, framework=default, execution=None))
        options = {
            name: str(value)
            for name, value in made_up_of.items()
            if not name.startswith(NOT_OF_A_CELL) and ADDED.get(name) != str(value)
        }
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def execution(self) -> str:
        """The execution asked for, else the framework's default for the model."""
        return self.options.resolved_execution

    @property
    def label(self) -> str:
        """The cell in a few words."""
        options = self.options
        where = options.gpus or ("1" if options.device is Device.cpu else "all")
        rounded = "" if options.precision is Precision.fp32 else f" {options.precision}"
        return f"{options.framework.name} {self.execution} {options.model.name} x{where}{rounded}"

    def alone(self, device: Device) -> "Cell":
        """The cell with one worker on a device."""
        return Cell(replace(self.options, gpus=1, device=device), f"baseline_{self.folder}")

    def is_alone(self, device: Device) -> bool:
        """Whether it has one worker on a device (without GPUs, ``device=auto`` is one on CPU)."""
        asked = self.options.gpus, self.options.device
        if device is Device.gpu:
            return asked in ((1, Device.gpu), (1, Device.auto))
        return asked in ((1, Device.cpu), (None, Device.cpu), (None, Device.auto))


def cells(planned: Sequence[Options]) -> list[Cell]:
    """The cells of a plan, in its order; what is planned twice is one cell."""
    found: dict[str, Cell] = {}
    for number, options in enumerate(planned):
        cell = Cell(options, f"{number}_{options.framework.name}_{options.model.name}")
        found.setdefault(cell.key, cell)
    return list(found.values())


def extended(
    recorded: Sequence[Options], planned: Sequence[Options], overrides: Sequence[str]
) -> tuple[list[Options], list[Options]]:
    """What a command runs that takes a study up again, and the study's plan from then on.

    Parameters
    ----------
    recorded:
        The plan so far.
    planned:
        The options that the command composed.
    overrides:
        The command's overrides. Where they name nothing that makes up a cell, all recorded cells
        are run, with the command's ``repeats`` if it names them.
    """
    named = {_name(override) for override in overrides}
    if all(name.startswith(NOT_OF_A_CELL) for name in named):
        planned = (
            [replace(one, repeats=planned[0].repeats) for one in recorded]
            if "repeats" in named
            else recorded
        )
    plan = {cell.key: cell.options for cell in cells(recorded)}
    for cell in cells(planned):
        before = plan.setdefault(cell.key, cell.options)
        repeats = max(before.repeats, cell.options.repeats)
        plan[cell.key] = replace(before, repeats=repeats)
    return list(planned), list(plan.values())


def surroundings(overrides: Sequence[str]) -> list[str]:
    """Those of a command's overrides that a command needs which takes its study up again."""
    return [override for override in overrides if _name(override).startswith(SURROUNDINGS)]


def _name(override: str) -> str:
    """What an override is about: ``+a.b=1`` is about ``a.b``."""
    return override.lstrip("+~").split("=")[0]


def plain(options: Options) -> dict[str, Any]:
    """Options as JSON-able values."""
    container = OmegaConf.to_container(OmegaConf.structured(options), enum_to_str=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()}


def restored(values: dict[str, Any], now: Options) -> Options:
    """Options from :func:`plain`, with the tracking, the cluster and the study of this command.

    The data may lie in another folder now than when the study was begun.
    """
    options = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Options), values))
    assert isinstance(options, Options)
    data = now.data if now.data.name == options.data.name else options.data
    return replace(options, data=data, tracking=now.tracking, cluster=now.cluster, study=now.study)
