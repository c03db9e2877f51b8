"""What came of each fault, as a line of a file and as the table of docs/reliability.md."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Row:
    """One fault and what came of it.

    Attributes
    ----------
    epoch:
        The last one that was told before.
    outcome:
        ``went on`` within the command, ``resumed`` by another, ``not resumed``, ``hung``, or
        ``over before``.
    code, status:
        With what the command ended and as what its run then stood in MLflow, if it did not go on.
    said:
        What it said of the fault.
    lost_epochs:
        How many epochs had to be trained again.
    seconds:
        From the fault, or the start of the command that went on, to the next epoch.
    left:
        What was left in the end: processes, folders, runs that say RUNNING.
    gone_s:
        How long it took until no process of a command that ended was left.
    equal:
        Whether the weights of the run were in the end those of one that nothing disturbed.
    """

    framework: str
    engine: str
    fault: str
    epoch: int = 0
    outcome: str = ""
    code: int | None = None
    status: str = ""
    said: str = ""
    lost_epochs: int | None = None
    seconds: float | None = None
    left: str = ""
    gone_s: float | None = None
    equal: bool | None = None


def add(file: Path, row: Row) -> None:
    """Append a row to a file."""
    with file.open("a") as rows:
        rows.write(json.dumps(asdict(row)) + "\n")


def read(file: Path) -> list[Row]:
    """The rows of a file."""
    return [Row(**json.loads(line)) for line in file.read_text().splitlines()]


def table(rows: Sequence[Row]) -> str:
    """All rows, of which those of one engine and one sort of fault make a line.

    Seconds are the median and the worst.
    """
    frameworks = sorted({row.framework for row in rows})
    head = ["engine", "fault", "faults", "went on", "resumed", "weights equal", "epochs again"]
    head += [f"seconds, {name}" for name in frameworks]
    lines = [f"| {' | '.join((*head, 'left'))} |", "|---" * (len(head) + 1) + "|"]
    for engine, fault in sorted({(row.engine, row.fault) for row in rows}):
        some = [row for row in rows if (row.engine, row.fault) == (engine, fault)]
        cells = [engine, fault, str(len(some))]
        cells += [str(sum(row.outcome == one for row in some)) for one in ("went on", "resumed")]
        cells.append(str(sum(row.equal is True for row in some)))
        cells.append(_span([row.lost_epochs for row in some if row.lost_epochs is not None]))
        for name in frameworks:
            own = [r.seconds for r in some if r.framework == name and r.seconds is not None]
            cells.append(f"{statistics.median(own):.0f}, {max(own):.0f}" if own else "")
        cells.append("; ".join(dict.fromkeys(row.left for row in some if row.left)) or "nothing")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _span(numbers: list[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"
