"""distlab against each framework's quickstart style: one CPU worker, one thread, batch 64.

``python benchmarks/quickstart_style.py`` times ``python -m distlab.launch gpus=1`` and a script as
the framework's own quickstart shows it (``benchmarks/peers/*_quickstart.py``: a DataLoader loop, or
``model.fit``), in turn, and prints the ratio of their steps per second. The peer trains one epoch
more, whose time is dropped: it holds what distlab does in its warm-up. Run it on an idle machine.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from launching import distlab, quickstart_peer
from measuring import BEST, Cell, Timing, executions, measure, parser

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
    summary = distlab(folder, *overrides)
    return Timing(summary["steps_per_epoch"], summary["epoch_time_s"], summary)


def theirs(framework: str, arguments: list[str]) -> Timing:
    """One run of the peer, without its first epoch."""
    record = quickstart_peer(framework, *arguments)
    return Timing(record["steps_per_epoch"], record["epoch_time_s"][1:], record)


def main() -> None:
    """Measure, print, write."""
    arguments = parser("quickstart_style", __doc__, epochs=3, repeats=5)
    arguments.add_argument("--executions", type=executions, default=executions(BEST))
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


if __name__ == "__main__":
    main()
