"""Break the shipped backends on purpose: the conformance suite and a run's checks must see it.

    PYTHONPATH=tests/support python tests/conformance/backends/break_backends.py [--framework torch]

Each fault of each framework (``broken_torch.py``, ``broken_tensorflow.py``, ``broken_paddle.py``,
in the framework's default execution) goes through the conformance suite on the mlp and through a
real launch on two CPU workers, one after the other: some 40 seconds each. It is caught if the check
that ``faults.CAUGHT_BY`` names for it fails in both; what no run can see goes through the suite
only. ``Sound``, the backend as it is, must pass all of both. Prints one table; exits with 1 if
anything came out otherwise.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import command
from faults import CAUGHT_BY
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distlab import conformance

MODULES = {"torch": "broken_torch", "tf": "broken_tensorflow", "paddle": "broken_paddle"}
EXECUTIONS = {"torch": "eager", "tf": "graph", "paddle": "eager"}
SOUND = "Sound"
JOB = ("device=cpu", "gpus=2", "model=mlp", "data=mnist5k", "epochs=1", "tracking.log_model=false")

Failures = dict[str, str]
"""What each check that failed found."""


@dataclass(frozen=True)
class Verdict:
    """Which checks of the suite and of the run failed for one fault of one framework."""

    framework: str
    fault: str
    suite: Failures
    run: Failures

    @property
    def right(self) -> bool:
        """Whether both saw the fault where it is, or the sound backend passed both."""
        if self.fault == SOUND:
            return not self.suite and not self.run
        in_suite, in_run = CAUGHT_BY[self.fault]
        return in_suite in self.suite and (in_run is None or in_run in self.run)


def name(framework: str, fault: str) -> str:
    """The broken backend as ``module:Class``."""
    return f"{MODULES[framework]}:{fault}"


def suite_failures(framework: str, fault: str) -> Failures:
    """Hold the broken backend against the conformance suite.

    Raises RuntimeError if a process did not end well: then nothing is known of the fault.
    """
    outcomes = conformance.examine(
        name(framework, fault),
        models=["mlp"],
        execution=EXECUTIONS[framework],
        env=conformance.shipped_environment(framework),
    )
    failures = {outcome.check: outcome.detail for outcome in outcomes if not outcome.passed}
    if "ending" in failures:
        raise RuntimeError(f"{name(framework, fault)}: {failures['ending']}")
    return failures


def run_failures(framework: str, fault: str, folder: Path) -> Failures:
    """Launch a run with the broken backend in ``folder`` and read its summary.

    Raises RuntimeError if the run failed: then nothing is known of the fault.
    """
    here = str(Path(__file__).resolve().parent)
    ended = command.run(
        folder,
        *JOB,
        f"framework={framework}",
        f"execution={EXECUTIONS[framework]}",
        f"framework.name={name(framework, fault)}",
        environment={
            **command.ENVIRONMENT,
            "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
        },
    )
    if ended.code != 0:
        raise RuntimeError(f"{name(framework, fault)}: {ended.err}")
    summary = json.loads((ended.run_dir / "summary.json").read_text())
    failures = {
        check: found["detail"] for check, found in summary["checks"].items() if not found["passed"]
    }
    if summary["verified"] is not (not failures):
        raise RuntimeError(f"verified is {summary['verified']}, but {failures} failed")
    return failures


def judge(framework: str, fault: str) -> Verdict:
    """Put one fault of one framework through both, or through the suite if no run can see it."""
    suite = suite_failures(framework, fault)
    if fault != SOUND and CAUGHT_BY[fault][1] is None:
        return Verdict(framework, fault, suite, {})
    with TemporaryDirectory(prefix="distlab-broken-") as folder:
        run = run_failures(framework, fault, Path(folder))
    return Verdict(framework, fault, suite, run)


def report(verdicts: Sequence[Verdict]) -> Table:
    """One row for each fault of each framework."""
    table = Table("framework")
    table.add_column("fault", no_wrap=True)
    for heading in ("suite: failing checks", "run: failing checks", "caught"):
        table.add_column(heading)
    for verdict in verdicts:
        word = "-" if verdict.fault == SOUND else "yes"
        mark = Text(word, "green") if verdict.right else Text("NO", "bold red")
        failing = [", ".join(failures) or "none" for failures in (verdict.suite, verdict.run)]
        table.add_row(verdict.framework, verdict.fault, *failing, mark)
    return table


def main() -> int:
    """Break what the command line names; 0 if all came out as it must, else 1."""
    faults = [SOUND, *CAUGHT_BY]
    parser = argparse.ArgumentParser(description="Break the shipped backends on purpose.")
    parser.add_argument("--framework", choices=MODULES, nargs="+", default=list(MODULES))
    parser.add_argument("--fault", choices=faults, nargs="+", default=faults)
    arguments = parser.parse_args()
    console = Console()
    start = time.perf_counter()
    verdicts = []
    for framework in arguments.framework:
        for fault in arguments.fault:
            verdicts.append(judge(framework, fault))
            console.print(
                f"[{time.perf_counter() - start:.0f} s] {framework} {fault}", markup=False
            )
            for source, failures in (("suite", verdicts[-1].suite), ("run", verdicts[-1].run)):
                for check, detail in failures.items():
                    console.print(f"    {source}: {check}: {detail}", markup=False, soft_wrap=True)
    console.print(report(verdicts))
    wrong = [verdict for verdict in verdicts if not verdict.right]
    seconds = time.perf_counter() - start
    console.print(f"{len(verdicts)} backends, {len(wrong)} came out wrong, {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
