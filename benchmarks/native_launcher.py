"""distlab against each framework's own launcher and plain data-parallel loop, two CPU workers.

``python benchmarks/native_launcher.py`` times ``python -m distlab.launch gpus=2`` and the script of
``benchmarks/peers`` under torchrun (DistributedDataParallel), ``TF_CONFIG``
(MultiWorkerMirroredStrategy, custom loop) or ``paddle.distributed.launch`` (DataParallel), in turn,
for batches of 64 and 512: of both workers together (strong) and of each (weak). The peer trains one
epoch more, whose time is dropped. Run it on an idle machine with at least two cores.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from launching import parallel_peer
from measuring import BEST, Cell, Timing, measure, names, parser
from quickstart_style import ours

WORKERS = 2


def theirs(framework: str, arguments: list[str]) -> Timing:
    """One run of the peer, without its first epoch."""
    record = parallel_peer(framework, WORKERS, *arguments)
    return Timing(record["steps_per_epoch"], record["epoch_time_s"][1:], record)


def main() -> None:
    """Measure, print, write."""
    arguments = parser("native_launcher", __doc__, executions=BEST, epochs=2, repeats=3)
    arguments.add_argument("--batches", type=names, default=["64", "512"])
    arguments.add_argument("--scalings", type=names, default=["strong", "weak"])
    options = arguments.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for framework, model, batch, scaling in product(
            options.frameworks, options.models, map(int, options.batches), options.scalings
        ):
            local = batch if scaling == "weak" else batch // WORKERS
            peer = ["--model", model, "--data", options.data, "--batch", str(local)]
            peer += ["--epochs", str(options.epochs + 1)]
            contenders: dict[str, Callable[[], Timing]] = {
                "launcher": partial(theirs, framework, peer)
            }
            for runner, execution in options.executions:
                if runner == framework:
                    overrides = [f"framework={framework}", f"model={model}", f"gpus={WORKERS}"]
                    overrides += [f"data={options.data}", f"epochs={options.epochs}"]
                    overrides += [f"execution={execution}"]
                    overrides += [f"batch_size={batch}", f"scaling={scaling}"]
                    contenders[f"distlab {execution}"] = partial(ours, folder, overrides)
            conditions = {
                "framework": framework,
                "model": model,
                "batch": batch,
                "scaling": scaling,
                "global": local * WORKERS,
            }
            cells.append(Cell(conditions, contenders, reach=1.0))
        title = f"{WORKERS} CPU workers, 1 thread each, {options.data}: distlab and launchers"
        measure("native_launcher", title, cells, options)


if __name__ == "__main__":
    main()
