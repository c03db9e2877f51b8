"""What checkpoints cost: the steady step with and without, and the seconds between epochs.

``python benchmarks/checkpoints.py`` times, in turn, ``python -m distlab.launch`` on one CPU worker
with ``checkpoint.every=1`` and ``checkpoint.every=0``, and prints the ratio of their steps per
second, which states must leave alone. Before that it times, for each framework and model in a
process of its own, what a state costs outside the clock: reading and packing it in a rank, and
writing the file in the driver. Run it on an idle machine.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from launching import PEER_ENVIRONMENT, distlab, run
from measuring import BEST, CONSOLE, Cell, Timing, measure, parser

BATCH = 64
REACH = 0.99
TIMES = 20


def ours(folder: Path, conditions: dict[str, str], data: str, epochs: int, every: int) -> Timing:
    """One run of the command."""
    overrides = [f"{name}={value}" for name, value in conditions.items()]
    overrides += [f"data={data}", f"epochs={epochs}", f"batch_size={BATCH}", "gpus=1"]
    summary = distlab(folder, *overrides, f"checkpoint.every={every}")
    return Timing(summary["steps_per_epoch"], summary["epoch_time_s"], summary)


def state_seconds(framework: str, model: str, execution: str) -> dict[str, float]:
    """What one state costs, in seconds: the median of many, with its bytes."""
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.checkpoints.files import STATE, Checkpoints
    from distlab.checkpoints.state import State
    from distlab.models.shipped import MODELS
    from distlab.models.weights import draw

    backend = load(framework)(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(MODELS[model], Program(BATCH, execution=execution))
    backend.set_weights(draw(MODELS[model], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS[model]))
    packing, writing, data = [], [], b""
    with tempfile.TemporaryDirectory() as folder:
        files = Checkpoints(folder, 2, print)
        for number in range(1, TIMES + 1):
            start = time.perf_counter()
            data = State.of(backend, number).encoded()
            packed = time.perf_counter()
            files.save(STATE, number, data)
            packing.append(packed - start)
            writing.append(time.perf_counter() - packed)
    median = statistics.median
    return {"rank_s": median(packing), "driver_s": median(writing), "bytes": len(data)}


def alone(conditions: dict[str, str]) -> dict[str, float]:
    """:func:`state_seconds` in a process of its own, with the framework's environment."""
    from distlab.conformance import shipped_environment

    environment = {**os.environ, **PEER_ENVIRONMENT, **shipped_environment(conditions["framework"])}
    output = run([sys.executable, __file__, "--state", json.dumps(conditions)], None, environment)
    return dict(json.loads(output.splitlines()[-1]))


def main() -> None:
    """Measure, print, write."""
    if sys.argv[1:2] == ["--state"]:
        print(json.dumps(state_seconds(**json.loads(sys.argv[2]))))  # noqa: T201
        return
    options = parser("checkpoints", __doc__, executions=BEST, epochs=5, repeats=5).parse_args()
    cells, told = [], []
    with tempfile.TemporaryDirectory() as name:
        for framework, execution in options.executions:
            for model in options.models if framework in options.frameworks else ():
                conditions = {"framework": framework, "model": model, "execution": execution}
                cost = alone(conditions)
                told.append(
                    f"{framework} {execution} {model}: {cost['bytes'] / 1e6:.2f} MB, "
                    f"{1e3 * cost['rank_s']:.1f} ms in the rank, "
                    f"{1e3 * cost['driver_s']:.1f} ms in the driver, an epoch"
                )
                how = (Path(name), conditions, options.data, options.epochs)
                contenders = {f"every={n}": partial(ours, *how, n) for n in (0, 1)}
                cells.append(Cell(conditions, contenders, REACH))
        CONSOLE.print("\n".join(told))
        title = f"1 CPU worker, 1 thread, batch {BATCH}, {options.data}: checkpoints, and none"
        measure("checkpoints", title, cells, options)


if __name__ == "__main__":
    main()
