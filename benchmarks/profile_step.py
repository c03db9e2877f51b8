"""Where a step's time goes: timed parts of each backend's step, against the arithmetic's floor.

``python benchmarks/profile_step.py`` times, for each framework and model on one thread, the index
gather alone, with the forward pass, with the backward pass, and the backend's whole step; with two
workers also the whole step with gradient exchange. What each part adds is its share. Each figure is
the least disturbed of several rounds, in which the parts take turns.

Two floors stand beside it: the step's floating-point operations over the rate of a large float32
matrix product, the best that NumPy and the frameworks measured here reach (column "FLOPs"; its
share of the whole step is "MFU"), and the step's own matrix products, at their shapes, in NumPy (a
convolution as the product of its unfolded input, without the unfolding). A framework with better
kernels can be faster than the latter.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from launching import PEER_ENVIRONMENT, TIMEOUT_S, free_ports, run
from measuring import BEST, CONSOLE, busy_cores, conclude, parser, write
from rich.table import Table

from distlab.models.layers import Conv2D, Dense
from distlab.models.shipped import MODELS
from distlab.models.spec import ModelSpec

LARGE = 1024
"""Rows and columns of the large matrices."""
SPAN_S = 0.2
"""Seconds that one timing of a part should take, so that its beginning and end don't count."""


def least(parts: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Shortest seconds of each part over the rounds; the parts take turns."""
    shortest = dict.fromkeys(parts, float("inf"))
    for _ in range(rounds):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            shortest[name] = min(shortest[name], time.perf_counter() - start)
    return shortest


def products(spec: ModelSpec, batch: int) -> list[tuple[int, int, int]]:
    """Sizes (rows, inner, columns) of the matrix products of one training step."""
    found = []
    for number, (layer, shape) in enumerate(zip(spec.trainable, _outputs(spec), strict=True)):
        rows = batch * int(np.prod(shape[1:]))
        inner, columns = layer.fan_in, shape[0]
        found += [(rows, inner, columns), (inner, rows, columns)]
        if number:
            found.append((rows, columns, inner))
    return found


def _outputs(spec: ModelSpec) -> list[tuple[int, ...]]:
    pairs = zip(spec.layers, spec.shapes(), strict=True)
    return [shape for layer, shape in pairs if isinstance(layer, Dense | Conv2D)]


def floors(model: str, batch: int, rounds: int) -> dict[str, float]:
    """Seconds of the step's products, and of the large one."""
    spec = MODELS[model]
    random = np.random.default_rng(0)

    def operands(rows: int, inner: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = (random.random(size, np.float32) for size in ((rows, inner), (inner, columns)))
        return a, b, np.empty((rows, columns), np.float32)

    large = operands(LARGE, LARGE, LARGE)
    small = [operands(*sizes) for sizes in products(spec, batch)]

    def multiply() -> None:
        for a, b, out in small:
            np.matmul(a, b, out=out)

    seconds = least(
        {"large": lambda: np.matmul(*large[:2], out=large[2]), "small": multiply}, rounds
    )
    return {"shapes": seconds["small"], "product": seconds["large"]}


def child(
    framework: str,
    model: str,
    execution: str,
    data: str,
    batch: int,
    rounds: int,
    rank: int,
    endpoints: list[str],
) -> dict[str, float]:
    """Seconds of a step's parts in this process: cumulated, the whole step last."""
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.data.order import epoch_order
    from distlab.data.sources import load as load_data
    from distlab.models.weights import draw

    spec = MODELS[model]
    train, test = load_data(data).normalized()
    backend = load(framework)(Placement(rank, len(endpoints), rank, "cpu", tuple(endpoints), 1))
    backend.build(spec, Program(batch, execution=execution))
    backend.load_data(train, test)
    backend.set_weights(draw(spec, 0))
    backend.set_optimizer_state(OptimizerState.zero(spec))
    order = epoch_order(0, 0, len(train[1]), batch)
    backend.train(order[:1])
    backend.train(order[:10])
    start = time.perf_counter()
    backend.train(order[:10])
    steps = int(np.clip(SPAN_S / ((time.perf_counter() - start) / 10), 10, len(order)))
    indices = np.ascontiguousarray(order[: steps if len(endpoints) == 1 else 50])
    parts: dict[str, Callable[[], Any]] = {}
    alone: dict[str, float] = {}
    if len(endpoints) == 1:
        module = importlib.import_module(f"stages.{framework}")
        alone = least({"product": module.product(LARGE)}, rounds)
        parts = module.stages(backend, spec, indices)
    parts["whole"] = lambda: backend.train(indices)
    for part in parts.values():
        part()
    seconds = least(parts, rounds)
    backend.close()
    return {**{name: total / len(indices) for name, total in seconds.items()}, **alone}


def arithmetic(model: str, batch: int, rounds: int) -> dict[str, float]:
    """Run :func:`floors` in a process with one thread."""
    what = json.dumps({"model": model, "batch": batch, "rounds": rounds})
    environment = {**os.environ, **PEER_ENVIRONMENT}
    output = run([sys.executable, __file__, "--floors", what], None, environment)
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def start(what: dict[str, Any], workers: int) -> dict[str, float]:
    """Run :func:`child` in ``workers`` processes; what the first one says."""
    from distlab.conformance import shipped_environment

    environment = {**os.environ, **PEER_ENVIRONMENT, **shipped_environment(what["framework"])}
    endpoints = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--child", json.dumps({**what, **place})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            text=True,
        )
        for rank, place in enumerate({"rank": r, "endpoints": endpoints} for r in range(workers))
    ]
    try:
        output, errors = processes[0].communicate(timeout=TIMEOUT_S)
    finally:
        for process in processes:
            process.kill()
    lines = [line for line in output.splitlines() if line.startswith('{"')]
    if not lines:
        raise RuntimeError(errors[-4000:])
    found: dict[str, float] = json.loads(lines[-1])
    return found


def table_of(results: list[dict[str, Any]], batch: int) -> Table:
    """Microseconds that each part adds, the floors, and the step's share of the best rate."""
    table = Table(title=f"microseconds of a step, 1 thread, batch {batch}")
    for column in ("framework", "model", "execution"):
        table.add_column(column)
    columns = ("gather", "forward", "backward", "Adam, loop", "whole", "exchange")
    for column in (*columns, "FLOPs", "NumPy", "MFU"):
        table.add_column(column, justify="right")
    products = [found[key]["product"] for found in results for key in ("one_worker_s", "numpy_s")]
    rate = 2 * LARGE**3 / min(products)
    for found in results:
        one, whole = found["one_worker_s"], found["one_worker_s"]["whole"]
        floor = MODELS[found["model"]].training_flops * batch / rate
        parts = (
            one["gather"],
            one["forward"] - one["gather"],
            one["backward"] - one["forward"],
            whole - one["backward"],
            whole,
            found["two_workers_s"]["whole"] - whole,
            floor,
            found["numpy_s"]["shapes"],
        )
        table.add_row(
            *(found[name] for name in ("framework", "model", "execution")),
            *(f"{1e6 * seconds:,.0f}" for seconds in parts),
            f"{floor / whole:.0%}",
        )
    table.caption = f"best rate of a large product: {rate / 1e9:,.0f} billion operations a second"
    return table


def main() -> None:
    """Measure, print, write."""
    if sys.argv[1:2] in (["--child"], ["--floors"]):
        found = (child if sys.argv[1] == "--child" else floors)(**json.loads(sys.argv[2]))
        print(json.dumps(found), flush=True)  # noqa: T201
        return
    arguments = parser("profile_step", __doc__, executions=BEST, epochs=1, repeats=20)
    arguments.add_argument("--batch", type=int, default=64, help="samples of a step, each worker")
    options = arguments.parse_args()
    results, busy = [], []
    for framework, execution in options.executions:
        for model in options.models if framework in options.frameworks else ():
            what = {"framework": framework, "model": model, "execution": execution}
            how = {"data": options.data, "batch": options.batch, "rounds": options.repeats}
            busy.append(busy_cores())
            floor = arithmetic(model, options.batch, options.repeats)
            one = start({**what, **how}, 1)
            two = start({**what, **how}, 2)
            results.append(
                {**what, **how, "one_worker_s": one, "two_workers_s": two, "numpy_s": floor}
            )
            write(options.output, "profile_step", results, busy)
    CONSOLE.print(table_of(results, options.batch))
    conclude(options.output, busy)


if __name__ == "__main__":
    main()
