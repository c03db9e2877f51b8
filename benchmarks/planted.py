"""Checks on this machine that a report finds what was planted, and nothing where nothing was.

``python benchmarks/planted.py`` runs a study of five backends that are all torch: itself, a twin
that differs in name only (A/A), and three that sleep a fiftieth, a twentieth and a tenth of the
time that their steps took. Of the report's ten pairs

- the twins must not be told apart,
- no pair that is told may be told the wrong way round,
- a tenth must be found,
- the 95 % interval must hold the planted ratio in all pairs but one at most.

It exits with 1 if any of this fails. By chance alone, the first fails in at most 4 % of studies,
the last in some 9 %. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

SLOWER = {
    "torch": 0.0,
    "planted:Twin": 0.0,
    "planted:Slower2": 0.02,
    "planted:Slower5": 0.05,
    "planted:Slower10": 0.1,
}
"""By how much of its time each backend's steps take longer."""
FOUND = 0.1
"""A difference that five repeats must find."""
MISSED = 1
"""How many of the ten intervals may miss what was planted."""


def __getattr__(name: str) -> type:
    """The planted backends; made on demand, because torch is for workers only."""
    slower = SLOWER.get(f"planted:{name}")
    if slower is None:
        raise AttributeError(name)
    from distlab.backends.torch.backend import TorchBackend

    class Planted(TorchBackend):
        def train(
            self, indices: NDArray[np.int32], rates: NDArray[np.float64] | None = None
        ) -> NDArray[np.float32]:
            start = time.perf_counter()
            losses = super().train(indices, rates)
            if slower:
                time.sleep(slower * (time.perf_counter() - start))
            return losses

    return Planted


def faults(comparisons: list[Any]) -> list[str]:
    """What a report says of the planted backends that is not so."""
    found, missed = [], []
    for one in comparisons:
        faster, slower = SLOWER[one.faster.framework], SLOWER[one.slower.framework]
        truth = (1 + slower) / (1 + faster)
        name = f"{one.faster.framework} over {one.slower.framework}"
        if one.told and truth <= 1:
            found.append(f"{name} is told, and the truth is {truth:.3f}")
        if truth >= 1 + FOUND and not one.told:
            found.append(f"{name} is not told, and the truth is {truth:.3f}")
        if one.ratio.low is None or not one.ratio.low <= truth <= one.ratio.high:
            missed.append(f"{name}: {truth:.3f} is outside of its interval")
    pairs = len(SLOWER) * (len(SLOWER) - 1) // 2
    if len(comparisons) < pairs:
        found.append(f"only {len(comparisons)} of {pairs} pairs are ranked: see the study's lines")
    return found + (missed if len(missed) > MISSED else [])


def main() -> None:
    """Run the study and print what its report says of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--data.dir", default="null", help="folder of the data's files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    from distlab.report.figures.cells import cells
    from distlab.report.figures.comparisons import compare

    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-m", "distlab.launch", "-m", "device=cpu", "gpus=1"]
    command += [f"framework.name={','.join(SLOWER)}", "measure_exchange=false"]
    command += [f"{name}={value}" for name, value in vars(options).items()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
            sys.exit("planted: the study failed, see above")
        (file,) = Path(folder).glob("outputs/*/*/study.json")
        study = json.loads(file.read_text())
    console = Console(highlight=False)
    comparisons = compare(cells(study))
    for comparison in comparisons:
        console.print(comparison.sentence, soft_wrap=True)
    wrong = faults(comparisons)
    for line in wrong:
        console.print(f"WRONG: {line}", soft_wrap=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
