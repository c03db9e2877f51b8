"""What tells the cells of a study from each other: the options in which they differ.

Names of cells are made of it everywhere: on the terminal while a study runs, in MLflow, and in the
report, which reads ``study.json`` alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distlab.experiment.options import Engine, Options, flat

# What may differ between two sittings of a study without making another cell.
SURROUNDINGS = ("tracking.", "cluster", "data.dir", "data.file", "checkpoint.", "failures.")
NOT_OF_A_CELL = (*SURROUNDINGS, "repeats", "group_runs", "study", "resume", "take_over")
HELD = ("framework.name", "execution", "model.name", "gpus", "precision")
"""Options that every name of a cell holds, whether cells differ in them or not."""
FOLLOWS = {
    "framework.": "framework.name",
    "model.": "model.name",
    "target_accuracy": "model.name",
    "optimizer.": "optimizer.name",
}
"""Options, by the beginnings of their names, whose defaults follow from another one."""
MAY_BE_UNSET = "framework.env."


def made_of(options: Options, data: str | None) -> dict[str, str]:
    """The options that make up a cell, as text, by name.

    Parameters
    ----------
    options:
        The validated options; ``execution`` is told as what it leads to.
    data:
        What the data set is called (:func:`distlab.data.sources.called`); None if it isn't known,
        and then its folder stands for it.
    """
    told = data or options.data.dir or options.data.file or options.data.name
    engine = Engine.train if options.engine is Engine.train else Engine.actors
    resolved = {"execution": options.resolved_execution, "engine": engine}
    return chosen({**flat(options), **resolved, "data": told})


def chosen(options: Mapping[str, Any]) -> dict[str, str]:
    """Those of a run's options, or of its parameters in MLflow, that make up its cell."""
    out = (*NOT_OF_A_CELL, "data.", "framework.execution")
    return {name: str(value) for name, value in options.items() if not name.startswith(out)}


def distinguishing(
    cells: Sequence[Mapping[str, str]], held: Sequence[str] = HELD
) -> list[dict[str, str]]:
    """For each cell those of its options that tell it from the others, by name.

    An option that differs because the framework or the model does tells nothing of its own. One
    that isn't known of a cell (records made before it was there) doesn't differ.

    Parameters
    ----------
    cells:
        The options of each, as :func:`made_of` gives them.
    held:
        Options that stand in the name anyway.
    """
    names = dict.fromkeys(
        name for cell in cells for name in cell if not name.startswith(tuple(held))
    )
    varied = [name for name in names if _differs(name, cells)]
    return [{name: cell[name] for name in varied if name in cell} for cell in cells]


def phrases(varied: Mapping[str, str]) -> list[str]:
    """Options as they are written on the command line: ``learning_rate=0.01``, ``seed=1``."""
    return [f"{_GROUPS.get(name, name)}={_SPELT.get(told, told)}" for name, told in varied.items()]


def words(varied: Mapping[str, str]) -> str:
    """The same as one text: ``learning_rate=0.01 seed=1``."""
    return " ".join(phrases(varied))


_GROUPS = {"optimizer.name": "optimizer"}
_SPELT = {"True": "true", "False": "false", "None": "null"}


def _differs(name: str, cells: Sequence[Mapping[str, str]]) -> bool:
    """Whether cells differ in an option and not merely in what it follows from."""
    followed = next((led_by for start, led_by in FOLLOWS.items() if name.startswith(start)), None)
    values: dict[str | None, set[str | None]] = {}
    for cell in cells:
        if name in cell or name.startswith(MAY_BE_UNSET):
            values.setdefault(cell.get(followed) if followed else None, set()).add(cell.get(name))
    return any(len(different) > 1 for different in values.values())
