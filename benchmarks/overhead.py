"""What distlab adds to a steady step: a run against a bare loop around the same backend.

``python benchmarks/overhead.py`` times, in turn, ``python -m distlab.launch`` with one CPU worker
and a loop written by hand around the same backend in a fresh process, without Ray, Hydra and
MLflow. It prints the ratio of their steps per second. Run it on an idle machine.
"""

import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from launching import PEER_ENVIRONMENT, distlab, run
from measuring import BEST, Cell, Timing, measure, parser

BATCH = 64
REACH = 0.99


def ours(folder: Path, conditions: dict[str, str], data: str, epochs: int) -> Timing:
    """One run of the command."""
    overrides = [f"{name}={value}" for name, value in conditions.items()]
    overrides += [f"data={data}", f"epochs={epochs}", f"batch_size={BATCH}", "gpus=1"]
    summary = distlab(folder, *overrides)
    return Timing(summary["steps_per_epoch"], summary["epoch_time_s"], summary)


def bare(conditions: dict[str, str], data: str, epochs: int) -> Timing:
    """One run of :func:`bare_loop` in a process of its own, with the framework's environment."""
    from distlab.conformance import shipped_environment

    own = shipped_environment(conditions["framework"])
    environment = {**os.environ, **PEER_ENVIRONMENT, **own}
    what = json.dumps({**conditions, "data": data, "epochs": epochs})
    output = run([sys.executable, __file__, "--bare", what], None, environment)
    record = json.loads(output.splitlines()[-1])
    return Timing(record["steps_per_epoch"], record["epoch_time_s"], record)


def bare_loop(framework: str, model: str, execution: str, data: str, epochs: int) -> dict:
    """The loop by hand: whole epochs, one call each, timed alone."""
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.data.order import epoch_order
    from distlab.data.sources import load as load_data
    from distlab.models.shipped import MODELS
    from distlab.models.weights import draw

    train, test = load_data(data).normalized()
    backend = load(framework)(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(MODELS[model], Program(BATCH, execution=execution))
    backend.load_data(train, test)
    order = epoch_order(0, 0, len(train[1]), BATCH)
    for warm_up in (order[:1], order[:50]):
        backend.set_weights(draw(MODELS[model], 0))
        backend.set_optimizer_state(OptimizerState.zero(MODELS[model]))
        backend.train(warm_up)
    backend.set_weights(draw(MODELS[model], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS[model]))
    seconds = []
    for epoch in range(epochs):
        order = epoch_order(0, epoch, len(train[1]), BATCH)
        start = time.perf_counter()
        backend.train(order)
        seconds.append(time.perf_counter() - start)
        backend.evaluate(0, len(test[1]))
    return {"steps_per_epoch": len(order), "epoch_time_s": seconds}


def main() -> None:
    """Measure, print, write."""
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare_loop(**json.loads(sys.argv[2]))))  # noqa: T201
        return
    arguments = parser("overhead", __doc__, executions=BEST, epochs=3, repeats=5)
    options = arguments.parse_args()
    cells = []
    with tempfile.TemporaryDirectory() as name:
        for framework, execution in options.executions:
            for model in options.models if framework in options.frameworks else ():
                conditions = {"framework": framework, "model": model, "execution": execution}
                how = (conditions, options.data, options.epochs)
                contenders = {
                    "bare loop": partial(bare, *how),
                    "distlab": partial(ours, Path(name), *how),
                }
                cells.append(Cell(conditions, contenders, REACH))
        title = f"1 CPU worker, 1 thread, batch {BATCH}, {options.data}: distlab and a bare loop"
        measure("overhead", title, cells, options)


if __name__ == "__main__":
    main()
