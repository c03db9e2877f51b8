"""distlab's step against the framework's own plain loop, for ResNet-20 and the transformer.

``python benchmarks/plain_loop.py`` builds, in one process of one thread for each framework and
model, distlab's backend and the model as the framework's guides write it (``benchmarks/plain/``),
compiled where distlab compiles by default. The two train on the same batches of float32 in memory,
a few steps each in turns, and the ratio is of their steps per second. In the plain loop's favour:
it has distlab's settings (environment, freed memory that stays with the process) and no DataLoader.
Run it on an idle machine.
"""

import importlib
import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np
from launching import PEER_ENVIRONMENT, run
from measuring import CONSOLE, busy_cores, conclude, parser, write
from rich.table import Table

REACH = 0.97
SHAPES = {"resnet20": (3, 32, 32), "vit": (1, 28, 28)}
DEFAULTS = "torch=eager,tf=graph,paddle=eager"


def child(framework: str, model: str, execution: str, batch: int, steps: int, rounds: int) -> dict:
    """Seconds of a step, ours and the plain loop's, of each round."""
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.data import synthetic
    from distlab.models.shipped import model as shipped
    from distlab.models.weights import draw

    spec = shipped(model, SHAPES[model], 10)
    train, test = synthetic.make(SHAPES[model], 10, 8 * batch, batch).normalized()
    backend = load(framework)(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    backend.build(spec, Program(batch, execution=execution))
    backend.load_data(train, test)
    backend.set_weights(draw(spec, 0))
    backend.set_optimizer_state(OptimizerState.zero(spec))
    parameters, plain = importlib.import_module(f"plain.{framework}").loop(model, execution, *train)
    assert parameters == sum(map(np.prod, spec.parameters.values())), (parameters, model)
    indices = np.arange(steps * batch, dtype=np.int32).reshape(steps, batch) % len(train[1])
    loops = {"distlab": lambda: backend.train(indices)[-1], "plain": lambda: plain(indices)}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for round_ in range(rounds + 1):
        for name in loops if round_ % 2 else reversed(loops):
            start = time.perf_counter()
            loss = loops[name]()
            if round_:
                seconds[name].append((time.perf_counter() - start) / steps)
            assert np.isfinite(loss), name
    backend.close()
    return seconds


def table_of(results: list[dict[str, Any]], batch: int) -> Table:
    """One row for each framework and model."""
    table = Table(title=f"1 CPU thread, batch {batch}, noise in memory: distlab and a plain loop")
    for column in ("framework", "model", "execution"):
        table.add_column(column)
    for column in ("step, ms", "plain, ms", "ratio (lowest-highest)", "reach"):
        table.add_column(column, justify="right")
    for found in results:
        ours, plain = (found["step_s"][name] for name in ("distlab", "plain"))
        ratios = [theirs / our for our, theirs in zip(ours, plain, strict=True)]
        ratio = statistics.median(ratios)
        table.add_row(
            *(found[name] for name in ("framework", "model", "execution")),
            *(f"{1000 * statistics.median(each):,.1f}" for each in (ours, plain)),
            f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            f"{REACH:g}",
            style=None if ratio >= REACH else "yellow",
        )
    return table


def main() -> None:
    """Measure, print, write."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(**json.loads(sys.argv[2]))), flush=True)  # noqa: T201
        return
    arguments = parser("plain_loop", __doc__, executions=DEFAULTS, epochs=1, repeats=8)
    arguments.set_defaults(models=list(SHAPES))
    arguments.add_argument("--batch", type=int, default=32, help="samples of a step")
    arguments.add_argument("--steps", type=int, default=4, help="steps of a turn")
    options = arguments.parse_args()
    from distlab.conformance import shipped_environment

    results: list[dict[str, Any]] = []
    busy: list[float] = []
    for framework, execution in options.executions:
        for model in options.models if framework in options.frameworks else ():
            what = {"framework": framework, "model": model, "execution": execution}
            how = {"batch": options.batch, "steps": options.steps, "rounds": options.repeats}
            busy.append(busy_cores())
            environment = {**os.environ, **PEER_ENVIRONMENT, **shipped_environment(framework)}
            told = run(
                [sys.executable, __file__, "--child", json.dumps(what | how)], None, environment
            )
            results.append({**what, **how, "step_s": json.loads(told.splitlines()[-1])})
            write(options.output, "plain_loop", results, busy)
    CONSOLE.print(table_of(results, options.batch))
    conclude(options.output, busy)


if __name__ == "__main__":
    main()
