"""distlab against each framework's quickstart style: one CPU worker, one thread, batch 64.

``python benchmarks/quickstart_style.py`` times ``python -m distlab.launch gpus=1`` and a script as
the framework's own quickstart shows it (``benchmarks/peers/*_quickstart.py``: a DataLoader loop, or
``model.fit``), in turn, and prints the ratio of their steps per second. The peer trains one epoch
more, whose time is dropped: it holds what distlab does in its warm-up. Run it on an idle machine.

A second table tells after how many epochs a compiled execution has earned back its compilation:
the seconds that compilation takes longer than in the eager execution, over the seconds that it
saves in each epoch. torch keeps on disk what it has compiled, for later processes; that folder is
empty at first here, so the longest compilation begins from nothing and the shortest from the disk.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from launching import distlab, quickstart_peer
from measuring import BEST, CONSOLE, Cell, Timing, measure, parser
from rich.table import Table

REACH = {
    ("torch", "mlp"): 2.3,
    ("torch", "lenet5"): 1.4,
    ("tf", "mlp"): 4.5,
    ("tf", "lenet5"): 1.8,
    ("paddle", "mlp"): 3.0,
    ("paddle", "lenet5"): 2.0,
}


def ours(folder: Path, overrides: list[str]) -> Timing:
    """One run of distlab."""
    summary = distlab(folder, *overrides, TORCHINDUCTOR_CACHE_DIR=str(folder / "inductor"))
    return Timing(summary["steps_per_epoch"], summary["epoch_time_s"], summary)


def theirs(framework: str, arguments: list[str]) -> Timing:
    """One run of the peer, without its first epoch."""
    record = quickstart_peer(framework, *arguments)
    return Timing(record["steps_per_epoch"], record["epoch_time_s"][1:], record)


def break_even(cells: Sequence[Cell]) -> Table:
    """Where a cell holds both executions: compilation, epochs, and when the former pays."""
    table = Table(title="compilation of execution=graph: seconds, and epochs until it pays")
    for column in ("framework", "model"):
        table.add_column(column)
    for column in ("compile, longest", "shortest", "epoch, graph", "epoch, eager", "pays after"):
        table.add_column(column, justify="right")
    for cell in cells:
        graph, eager = (
            [run for run in cell.runs.get(f"distlab {execution}", []) if run]
            for execution in ("graph", "eager")
        )
        if not graph or not eager:
            continue
        compiling = [run.record["compile_s"] for run in graph]
        without = statistics.median(run.record["compile_s"] for run in eager)
        compiled, imperative = (
            statistics.median(run.steps_per_epoch / run.rate for run in runs)
            for runs in (graph, eager)
        )
        pays = [
            pays_after(s - without, imperative - compiled) for s in (max(compiling), min(compiling))
        ]
        table.add_row(
            *map(str, cell.conditions.values()),
            f"{max(compiling):.1f}",
            f"{min(compiling):.1f}",
            f"{compiled:.3f}",
            f"{imperative:.3f}",
            "never" if math.isinf(pays[0]) else f"{pays[0]:,.0f} epochs ({pays[1]:,.0f})",
        )
    return table


def pays_after(compile_s: float, saved_s: float) -> float:
    """Epochs after which ``compile_s`` are earned back by ``saved_s`` an epoch; inf for never."""
    return float(max(0, math.ceil(compile_s / saved_s))) if saved_s > 0 else math.inf


def main() -> None:
    """Measure, print, write."""
    arguments = parser("quickstart_style", __doc__, executions=BEST, epochs=3, repeats=5)
    options = arguments.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for framework in options.frameworks:
            for model in options.models:
                peer = ["--model", model, "--data", options.data, "--batch", "64"]
                peer += ["--epochs", str(options.epochs + 1)]
                contenders: dict[str, Callable[[], Timing]] = {
                    "quickstart": partial(theirs, framework, peer)
                }
                for runner, execution in options.executions:
                    if runner == framework:
                        overrides = [f"framework={framework}", f"model={model}", "gpus=1"]
                        overrides += [f"data={options.data}", f"epochs={options.epochs}"]
                        overrides += [f"execution={execution}", "batch_size=64"]
                        contenders[f"distlab {execution}"] = partial(ours, folder, overrides)
                conditions = {"framework": framework, "model": model}
                cells.append(Cell(conditions, contenders, REACH.get((framework, model))))
        title = f"1 CPU worker, 1 thread, batch 64, {options.data}: distlab against the quickstart"
        measure("quickstart_style", title, cells, options)
        CONSOLE.print(break_even(cells))


if __name__ == "__main__":
    main()
