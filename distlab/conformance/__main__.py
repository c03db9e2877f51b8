"""``python -m distlab.conformance FRAMEWORK``: the suite as a table."""

import argparse
import sys
import time

from rich.table import Table
from rich.text import Text

from distlab.conformance import MODELS, TIMEOUT_S, examine
from distlab.console import Terminal


def main() -> int:
    """Run the suite, print its outcomes; 0 if all passed, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m distlab.conformance",
        description="Hold a backend against the contract of distlab.",
    )
    parser.add_argument("framework", help="name of an installed backend, or module:Class")
    parser.add_argument("--model", choices=MODELS, help="one model only (default: all)")
    parser.add_argument(
        "--execution", choices=["eager", "graph"], help="one execution only (default: all)"
    )
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="default: cpu")
    parser.add_argument(
        "--worlds",
        type=int,
        choices=[1, 2],
        default=2,
        help="1 for a single worker, as with one GPU; 2 (the default) for that and two",
    )
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS")
    arguments = parser.parse_args()
    models = [arguments.model] if arguments.model else MODELS
    start = time.perf_counter()
    outcomes = examine(
        arguments.framework,
        models=models,
        execution=arguments.execution,
        timeout_s=arguments.timeout,
        device=arguments.device,
        worlds=range(1, arguments.worlds + 1),
    )
    seconds = time.perf_counter() - start

    table = Table("check", "execution", "model", "", "found", title=arguments.framework)
    for outcome in outcomes:
        mark = Text("passed", "green") if outcome.passed else Text("FAILED", "bold red")
        row = (outcome.check, outcome.execution, outcome.model)
        table.add_row(*row, mark, Text(outcome.detail))
    failed = sum(not outcome.passed for outcome in outcomes)
    console = Terminal()
    console.print(table)
    console.print(f"{len(outcomes) - failed} passed, {failed} failed in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
