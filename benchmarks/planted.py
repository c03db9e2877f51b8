"""Checks that a report finds what was planted, and nothing where nothing was.

``python benchmarks/planted.py`` runs a study of three backends that are all torch: itself, a twin
that differs in name only, and one that sleeps a tenth of the time that its steps took. The report
must tell the slow one from both others, by a ratio that includes 1.1, and must not tell the twins
from each other (in all but one of twenty studies: it claims 95 %). Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

NAMES = ("torch", "planted:Twin", "planted:Slow")


def __getattr__(name: str) -> type:
    """The backends ``Twin`` and ``Slow``; made on demand, because torch is for workers only."""
    if name not in ("Twin", "Slow"):
        raise AttributeError(name)
    from distlab.backends.torch.backend import TorchBackend

    class Slow(TorchBackend):
        def train(self, indices: NDArray[np.int32]) -> NDArray[np.float32]:
            start = time.perf_counter()
            losses = super().train(indices)
            time.sleep(0.1 * (time.perf_counter() - start))
            return losses

    return Slow if name == "Slow" else type("Twin", (TorchBackend,), {})


def main() -> None:
    """Run the study and print what its report says of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    from distlab.report.figures.cells import cells
    from distlab.report.figures.comparisons import compare

    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-m", "distlab.launch", "-m", "device=cpu", "gpus=1"]
    command += [f"framework.name={','.join(NAMES)}", "measure_exchange=false"]
    command += [f"{name}={value}" for name, value in vars(options).items()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, env=environment, check=True)
        (file,) = Path(folder).glob("outputs/*/*/study.json")
        study = json.loads(file.read_text())
    console = Console(highlight=False)
    found = compare(cells(study))
    for comparison in found:
        planted = "planted:Slow" in (comparison.faster.framework, comparison.slower.framework)
        right = "as it should be" if comparison.told == planted else "WRONG"
        console.print(f"{comparison.sentence} - {right}", soft_wrap=True)
    if len(found) < 3:
        console.print("too few pairs are ranked: see the study's lines above")
        sys.exit(1)


if __name__ == "__main__":
    main()
