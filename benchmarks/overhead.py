"""What distlab adds to its own backend: a run against the same loop written by hand.

``python benchmarks/overhead.py`` runs, one after the other and several times, (a) the command
``python -m distlab.launch`` with one CPU worker and (b) a bare loop around the same backend in a
fresh process, without Ray, Hydra and MLflow. It prints the ratio of their throughputs and where
the seconds from the command to the first step go. Run it on an idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


def distlab_run(framework: str, model: str, data: str, epochs: int, folder: Path) -> dict:
    """One run of the command; its summary."""
    subprocess.run(
        [
            *(sys.executable, "-m", "distlab.launch", "device=cpu", "gpus=1"),
            *(f"framework={framework}", f"model={model}", f"data={data}", f"epochs={epochs}"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    newest = max((folder / "outputs").glob("*/*/summary.json"), key=lambda p: p.stat().st_mtime)
    return json.loads(newest.read_text())


def bare_run(framework: str, model: str, data: str, epochs: int, folder: Path) -> dict:
    """One run of :func:`bare_loop` in a process of its own, with the framework's environment."""
    from distlab.backends.conformance import shipped_environment

    environment = {**os.environ, "OMP_NUM_THREADS": "1", **shipped_environment(framework)}
    started = time.time()
    done = subprocess.run(
        [sys.executable, __file__, "--bare", framework, model, data, str(epochs)],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return {**result, "startup_s": result["first_step_time"] - started}


def bare_loop(framework: str, model: str, data: str, epochs: int) -> dict:
    """The loop by hand: whole epochs, one call each, timed alone."""
    from distlab.backends.base import OptimizerState, Placement, Program
    from distlab.backends.registry import load
    from distlab.data.order import epoch_order
    from distlab.data.sources import load as load_data
    from distlab.models.spec import MODELS
    from distlab.models.weights import draw

    train, test = load_data(data).normalized()
    backend = load(framework)(Placement(0, 1, 0, "cpu", ("127.0.0.1:0",), 1))
    execution = "graph" if framework == "tf" else "eager"
    backend.build(MODELS[model], Program(64, execution=execution))
    backend.load_data(train, test)
    backend.set_weights(draw(MODELS[model], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS[model]))
    backend.train(epoch_order(0, 0, len(train[1]), 64)[:100])
    backend.set_weights(draw(MODELS[model], 0))
    backend.set_optimizer_state(OptimizerState.zero(MODELS[model]))
    first_step_time, seconds, samples = time.time(), [], 0
    for epoch in range(epochs):
        order = epoch_order(0, epoch, len(train[1]), 64)
        start = time.perf_counter()
        backend.train(order)
        seconds.append(time.perf_counter() - start)
        samples += order.size
        backend.evaluate(0, len(test[1]))
    return {
        "throughput_samples_per_s": samples / sum(seconds),
        "epoch_time_s": seconds,
        "first_step_time": first_step_time,
    }


def main() -> None:
    """Compare, print a table, write ``overhead.json``."""
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare_loop(*sys.argv[2:5], int(sys.argv[5]))))  # noqa: T201
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frameworks", default="torch,tf,paddle")
    parser.add_argument("--models", default="mlp,lenet5")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("overhead.json"))
    options = parser.parse_args()
    console = Console(highlight=False)
    table = Table(title="steady throughput, 1 CPU worker, 1 thread, batch 64: medians of epochs")
    for column in ("framework", "model", "distlab", "bare loop", "ratio", "start-up", "bare"):
        table.add_column(column, justify="left" if column in ("framework", "model") else "right")
    results, splits = [], {}
    with tempfile.TemporaryDirectory() as name:
        for framework in options.frameworks.split(","):
            for model in options.models.split(","):
                pairs = []
                for _ in range(options.repeats):
                    arguments = (framework, model, options.data, options.epochs, Path(name))
                    pairs.append((distlab_run(*arguments), bare_run(*arguments)))
                ours = statistics.median(t for run, _ in pairs for t in run["epoch_time_s"])
                bare = statistics.median(t for _, run in pairs for t in run["epoch_time_s"])
                steps = pairs[0][0]["steps_per_epoch"]
                starts = [
                    statistics.median(run["startup_s"] for run in side)
                    for side in zip(*pairs, strict=True)
                ]
                table.add_row(
                    framework,
                    model,
                    f"{steps / ours:,.0f} steps/s",
                    f"{steps / bare:,.0f} steps/s",
                    f"{bare / ours:.3f}",
                    *(f"{seconds:.1f} s" for seconds in starts),
                )
                splits[f"{framework} {model}"] = pairs[-1][0]["startup_split_s"]
                results.append(
                    {"framework": framework, "model": model, "ratio": bare / ours, "pairs": pairs}
                )
    console.print(table)
    for label, split in splits.items():
        parts = ", ".join(f"{cause} {seconds:.1f}" for cause, seconds in split.items())
        console.print(f"start-up of the last run, {label}: {parts}")
    options.output.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
