"""Compile the steps that torch needs in the conformance suite: ``torch_steps.py MODEL THREADS``.

There each program would have a child process of its own compile it, within the suite's time limit.
Here one child compiles all of a model for one number of threads, and the suite finds them.
"""

import sys
from dataclasses import replace

import torch

from distlab import conformance
from distlab.backends.torch import aot
from distlab.backends.torch.graph import Graph
from distlab.conformance.problem import GLOBAL_BATCH, PROGRAMS
from distlab.conformance.rank.rebuild import PAIR
from distlab.models.shipped import MODELS


def compile_all(model: str, threads: int) -> None:
    """For each world whose ranks have so many threads."""
    torch.set_num_threads(threads)
    images, labels = torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64)
    calls = {}
    for world_size, given in conformance.THREADS[model].items():
        whole = replace(PROGRAMS[model], local_batch=GLOBAL_BATCH // world_size)
        half = replace(whole, local_batch=GLOBAL_BATCH // PAIR // 2)
        for program in (whole, half, replace(whole, precision="bf16")):
            graph = Graph(MODELS[model], program, torch.device("cpu"), world_size)
            for name, call in graph._calls(images, labels).items():
                if given == threads:
                    calls[f"{world_size} {program} {name}"] = call
    aot.load(calls)


if __name__ == "__main__":
    compile_all(sys.argv[1], int(sys.argv[2]))
