"""From the command to the first training step: distlab, cold and on a running Ray, and launchers.

``python benchmarks/start_up.py`` starts, in turn, the framework's own launcher with the script of
``benchmarks/peers``, ``python -m distlab.launch`` (which starts a Ray of its own), and
``python -m distlab.launch cluster=existing`` on a Ray that this benchmark started before. All run
two CPU workers. Two moments are told: when the first step *begins* (distlab's is the first of its
warm-up), and when compilation is over, too: after the peer's first step, and before distlab's first
timed one. Run it on an idle machine.
"""

import contextlib
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from launching import distlab, free_ports, parallel_peer
from measuring import CONSOLE, busy_cores, conclude, parser, write
from rich.table import Table

WORKERS = 2
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""What the Ray of this benchmark asks of those who join it."""
REST_S = 5
"""Seconds until a Ray that was just started has come to rest."""
ADDRESS = re.compile(r"ray start --address='([^']+)'")
REACH_S = {"distlab, cold": 8.0, "distlab, running Ray": 4.0}


def ours(folder: Path, framework: str, model: str, data: str, address: str = "") -> dict[str, Any]:
    """One run of distlab: on the Ray at ``address``, if one is given."""
    cluster = ("cluster=existing", f"cluster.address={address}") if address else ()
    summary = distlab(
        folder,
        *(f"framework={framework}", f"model={model}", f"data={data}"),
        *("epochs=1", f"gpus={WORKERS}", *cluster),
        **(TOKEN if address else {}),
    )
    split = summary["startup_split_s"]
    later = split["worker_warm_up"] + split.get("worker_limits", 0.0)
    return {
        "begins_s": summary["startup_s"] - later,
        "compiled_s": summary["startup_s"],
        "split_s": split,
    }


def theirs(framework: str, model: str, data: str) -> dict[str, Any]:
    """One run of the framework's launcher."""
    arguments = ("--model", model, "--data", data, "--batch", "64", "--epochs", "1")
    record = parallel_peer(framework, WORKERS, *arguments)
    return {
        "begins_s": record["first_step_time"] - record["command_time"],
        "compiled_s": record["first_step_end_time"] - record["command_time"],
    }


@contextlib.contextmanager
def running_ray(folder: Path) -> Iterator[str]:
    """A Ray of this benchmark's own; its address. It is ended with the block."""
    (port,) = free_ports(1)
    options = ["--head", "--block", f"--port={port}", f"--num-cpus={WORKERS}", "--num-gpus=0"]
    options += ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}/ray"]
    ray = str(Path(sys.executable).with_name("ray"))
    log = folder / "ray.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [ray, "start", *options],
            stdout=output,
            stderr=output,
            env={**os.environ, **TOKEN},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not (address := ADDRESS.search(log.read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text()[-4000:])
                time.sleep(0.2)
            time.sleep(REST_S)
            yield address[1]
        finally:
            started = [process.pid]
            with contextlib.suppress(psutil.NoSuchProcess):
                started += [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            for pid in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Measure, print, write."""
    arguments = parser("start_up", __doc__, epochs=1, repeats=5)
    arguments.set_defaults(models=["mlp"])
    options = arguments.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    busy: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for repeat in range(options.repeats):
            for framework in options.frameworks:
                for model in options.models:
                    what = (framework, model, options.data)
                    runs = {"launcher": theirs(*what), "distlab, cold": ours(folder, *what)}
                    with running_ray(folder) as address:
                        runs["distlab, running Ray"] = ours(folder, *what, address)
                    results.setdefault(f"{framework} {model}", []).append(runs)
                    busy.append(busy_cores())
            CONSOLE.print(f"repeat {repeat + 1} of {options.repeats} done")
            write(options.output, "start_up", results, busy)
    CONSOLE.print(report(results))
    conclude(options.output, busy)


def report(results: dict[str, list[dict[str, Any]]]) -> Table:
    """Medians, their spread, and what distlab adds."""
    table = Table(title=f"command to first step, {WORKERS} CPU workers: medians in s (spread)")
    for column in ("framework, model", "how"):
        table.add_column(column)
    for column in ("first step begins", "more", "at most", "compiled too", "more"):
        table.add_column(column, justify="right")
    for label, repeats in results.items():
        for how in repeats[0]:
            row = []
            for moment in ("begins_s", "compiled_s"):
                seconds = [runs[how][moment] for runs in repeats]
                more = [runs[how][moment] - runs["launcher"][moment] for runs in repeats]
                spread = max(seconds) - min(seconds)
                row.append(f"{statistics.median(seconds):.1f} ({spread:.1f})")
                row.append("" if how == "launcher" else f"{statistics.median(more):+.1f}")
            limit = f"{REACH_S[how]:.0f}" if how in REACH_S else ""
            table.add_row(label, how, *row[:2], limit, *row[2:])
    return table


if __name__ == "__main__":
    main()
