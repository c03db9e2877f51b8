"""Peak memory of a distlab worker over that of the framework's import plus the data set.

``python benchmarks/memory.py`` runs ``python -m distlab.launch gpus=1`` and reads the worker's
peak (the largest resident set, as the kernel counts it: ``getrusage``). Against it stands a bare
process that imports the framework and holds arrays as large as the data set: 32-bit images and
64-bit labels, training and test.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from launching import PEER_ENVIRONMENT, distlab, run
from measuring import BEST, CONSOLE, busy_cores, conclude, parser, write
from rich.table import Table

REACH = 1.2
PACKAGES = {"torch": "torch", "tf": "tensorflow", "paddle": "paddle"}
SAMPLES = {"mnist": 70_000, "mnist5k": 5_000}
MIB = 2**20


def bare(package: str, samples: int) -> dict[str, int]:
    """Peak resident set of this process after the import, and with the data set, in bytes."""
    import numpy as np

    __import__(package)
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    images = np.full((samples, 784), 0.5, np.float32)
    labels = np.full(samples, 1, np.int64)
    assert len(images) == len(labels)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"imported_bytes": imported, "peak_bytes": peak}


def main() -> None:
    """Measure, print, write."""
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare(sys.argv[2], int(sys.argv[3]))))  # noqa: T201
        return
    arguments = parser("memory", __doc__, executions=BEST, epochs=1, repeats=3)
    options = arguments.parse_args()
    table = Table(title=f"peak memory of 1 CPU worker, batch 64, {options.data}: medians in MiB")
    for column in ("framework", "model", "execution"):
        table.add_column(column)
    for column in ("import", "import and data", "worker", "ratio", "at most"):
        table.add_column(column, justify="right")
    results: list[dict[str, Any]] = []
    busy: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for framework, execution in options.executions:
            if framework not in options.frameworks:
                continue
            what = ["--bare", PACKAGES[framework], str(SAMPLES[options.data])]
            environment = {**os.environ, **PEER_ENVIRONMENT}
            bares = [
                json.loads(
                    run([sys.executable, __file__, *what], None, environment).splitlines()[-1]
                )
                for _ in range(options.repeats)
            ]
            for model in options.models:
                overrides = [f"framework={framework}", f"model={model}", f"execution={execution}"]
                overrides += [f"data={options.data}", f"epochs={options.epochs}", "gpus=1"]
                peaks = [
                    distlab(Path(name), *overrides)["peak_memory_bytes"]
                    for _ in range(options.repeats)
                ]
                busy.append(busy_cores())
                imported = statistics.median(run["imported_bytes"] for run in bares)
                bare_peak = statistics.median(run["peak_bytes"] for run in bares)
                ratio = statistics.median(peaks) / bare_peak
                results.append(
                    {
                        "framework": framework,
                        "model": model,
                        "execution": execution,
                        "worker_bytes": peaks,
                        "bare": bares,
                        "ratio": ratio,
                    }
                )
                sizes = (imported, bare_peak, statistics.median(peaks))
                table.add_row(
                    framework,
                    model,
                    execution,
                    *(f"{size / MIB:,.0f}" for size in sizes),
                    f"{ratio:.2f}",
                    f"{REACH}",
                    style=None if ratio <= REACH else "yellow",
                )
                write(options.output, "memory", results, busy)
    CONSOLE.print(table)
    conclude(options.output, busy)


if __name__ == "__main__":
    main()
