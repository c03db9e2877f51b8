"""How often a report's claims are wrong: whole studies, simulated under stated noise.

``python benchmarks/claims.py`` makes studies of three equal frameworks on one and two workers with
two models (12 cells, 12 comparisons in 4 settings), with every run's speed disturbed as a row of
the table says, and lets the report's own functions judge them. It prints, for 5, 10 and 30 repeats,

- the share of 95 % intervals that hold the truth: throughput of a cell, ratio of two frameworks,
  efficiency, efficiency over runs of another study, seconds saved by a graph three times as fast;
- the share of studies of equals that tell any difference, and that name a fastest;
- the smallest true difference that is found in 80 % of comparisons;

and how often studies of equals tell something that are looked at again and again. The truth is
that of undisturbed runs in the time of the study, where the machine drifts. Of 1,000 studies a
share of 5 % is known to 1.4 points; coverage better, having several intervals a study.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from distlab.measure.design import place
from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import Comparison, compare
from distlab.report.figures.groups import groups
from distlab.report.sections.verdict import settings
from distlab.report.sections.what_if.break_even import break_evens

FRAMEWORKS, SIZES, MODELS = ("a", "b", "c"), (1, 2), ("m", "n")
SPEED = 1000.0
EFFICIENCY = 0.9
SLOWED_BY = (0.1, 0.5)
Logs = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """What disturbs the logarithm of a run's speed.

    Attributes
    ----------
    name:
        In the table.
    run:
        Standard deviation of a run by itself.
    tails:
        Degrees of freedom of a run's noise (Student's t), scaled to ``run``; 0 for normal noise.
    slowed:
        Chance that a run is slowed by 10 % to 50 %, by a neighbour.
    shared:
        Standard deviation of what all runs of a repeat share.
    walk:
        Standard deviation, by the study's end, of a random walk over its runs.
    drift:
        What the machine has slowed by at the study's end.
    process:
        Standard deviation from one group of worker processes to the next.
    group_runs:
        Runs of a cell in one group; None: all, and the record does not name the group.
    shuffled:
        Whether the order of cells is shuffled in each repeat.
    louder:
        How many times as noisy are the runs of the first framework, and of two workers.
    day:
        What another study's runs are slower by.
    """

    name: str
    run: float = 0.01
    tails: int = 0
    slowed: float = 0.0
    shared: float = 0.0
    walk: float = 0.0
    drift: float = 0.0
    process: float = 0.0
    group_runs: int | None = 1
    shuffled: bool = True
    louder: tuple[float, float] = (1.0, 1.0)
    day: float = 0.0


ROWS = (
    Noise("normal, 1 %"),
    Noise("normal, 3 %", run=0.03),
    Noise("heavy tails, 1 %", tails=3),
    Noise("1 run in 20 slowed by 10-50 %", slowed=0.05),
    Noise("3 % shared by a repeat + 1 %", shared=0.03),
    Noise("random walk, 5 % by the end, + 1 %", walk=0.05),
    Noise("drift of 5 % + 1 %", drift=0.05),
    Noise("drift of 5 % + 0.3 %", drift=0.05, run=0.003),
    Noise("processes differ by 0.5 %, + 1 %", process=0.005),
    Noise("by 1 %", process=0.01),
    Noise("by 2 %", process=0.02),
    Noise("by 2 %, two runs a group", process=0.02, group_runs=2),
    Noise("by 2 %, never renewed", process=0.02, group_runs=None),
    Noise("never renewed, equal", group_runs=None),
    Noise("another day is 2 % slower", process=0.01, day=0.02),
    Noise("one framework 3 times as noisy", louder=(3.0, 1.0)),
    Noise("2 workers 3 times as noisy", louder=(1.0, 3.0)),
)


@dataclass(frozen=True)
class Study:
    """A simulated study as data, and the mean logarithm of the machine's speed in its time."""

    data: dict[str, Any]
    level: float


def study(
    noise: Noise, repeats: int, random: np.random.Generator, slower: float = 1.0, name: str = ""
) -> Study:
    """A study of frameworks that are equal but for the first, which takes ``slower`` the time."""
    plan = list(itertools.product(FRAMEWORKS, SIZES, MODELS))
    machine, level = _machine(noise, len(plan), repeats, random)
    runs = []
    for number, (framework, size, model) in enumerate(plan):
        loud = noise.louder[0] if framework == FRAMEWORKS[0] else 1.0
        loud *= noise.louder[1] if size > 1 else 1.0
        logs = machine[number] + loud * _own(noise, repeats, random)
        speed = SPEED * (EFFICIENCY * size if size > 1 else 1.0)
        speed /= slower if framework == FRAMEWORKS[0] else 1.0
        runs += [
            _run(f"{model}{size}{framework}{name}", model, size, framework, k, speed * x, noise)
            for k, x in enumerate(np.exp(logs))
        ]
    return Study({"runs": runs}, level)


def _machine(
    noise: Noise, planned: int, repeats: int, random: np.random.Generator
) -> tuple[Logs, float]:
    """Logarithm of the machine's speed in each run (cells by repeats), and its mean."""
    steps = random.normal(0, noise.walk / np.sqrt(planned * repeats), planned * repeats)
    path = np.cumsum(steps) - noise.drift * np.linspace(0, 1, planned * repeats)
    name = str(random.integers(2**62))
    found = np.empty((planned, repeats))
    for repeat in range(repeats):
        drawn = [place(name, repeat, str(cell)) for cell in range(planned)]
        order = np.argsort(drawn) if noise.shuffled else np.arange(planned)
        found[order, repeat] = path[repeat * planned : (repeat + 1) * planned]
    return found + random.normal(0, noise.shared, repeats), float(path.mean())


def _own(noise: Noise, repeats: int, random: np.random.Generator) -> Logs:
    """What runs of one cell have of their own: noise, neighbours and their processes."""
    if noise.tails:
        scale = np.sqrt((noise.tails - 2) / noise.tails)
        found = noise.run * scale * random.standard_t(noise.tails, repeats)
    else:
        found = random.normal(0, noise.run, repeats)
    hit = random.random(repeats) < noise.slowed
    found -= np.log1p(hit * random.uniform(*SLOWED_BY, repeats))
    processes = random.normal(0, noise.process, repeats)
    return np.asarray(found + processes[np.arange(repeats) // (noise.group_runs or repeats)])


def _run(
    cell: str, model: str, size: int, framework: str, repeat: int, speed: float, noise: Noise
) -> dict[str, Any]:
    group = noise.group_runs and f"{cell}-{repeat // noise.group_runs}"
    return {
        "cell": cell,
        "series": f"{model}{framework}",
        "comparison_key": model,
        "model": model,
        "framework": framework.split("-")[0],
        "framework_version": "1",
        "execution": framework.partition("-")[2] or "eager",
        "device": "cpu",
        "scaling": "strong",
        "batch_size": 64,
        "world_size": size,
        "repeat": repeat,
        "group_run": 0,
        "compile_s": 1.0,
        "throughput_samples_per_s": speed,
        "epoch_time_s": [SPEED / speed],
        "test_accuracy": [0.9],
        "verified": True,
        "mlflow": {"run_id": f"{cell}-{repeat}"},
        **({"group": group} if group else {}),
    }


def _graphs(noise: Noise, repeats: int, random: np.random.Generator) -> Study:
    """A study of one framework, eager and as a graph three times as fast."""
    machine, level = _machine(noise, 2, repeats, random)
    runs = []
    for number, (framework, speed) in enumerate((("a-eager", SPEED), ("a-graph", 3 * SPEED))):
        logs = machine[number] + _own(noise, repeats, random)
        runs += [
            _run(framework, "m", 1, framework, k, speed * x, noise)
            for k, x in enumerate(np.exp(logs))
        ]
    return Study({"runs": runs}, level)


def told(found: Sequence[Cell], looks: int = 1) -> tuple[bool, bool]:
    """Whether a report tells any difference, and whether it names a fastest."""
    pairs = compare(found, looks)
    named = any(one.fastest is not None for one in settings(groups(found), pairs))
    return any(pair.told for pair in pairs), named


def judged(noise: Noise, repeats: int, studies: int, seed: int = 0) -> dict[str, float]:
    """Shares, in percent, of what the reports of so many studies of equals hold and claim."""
    random = np.random.default_rng([seed, repeats])
    hits: dict[str, list[bool]] = {}

    def count(name: str, held: bool) -> None:
        hits.setdefault(name, []).append(held)

    for _ in range(studies):
        made = study(noise, repeats, random)
        found = cells(made.data)
        for cell in found:
            if cell.throughput is not None:
                expected = SPEED * np.exp(made.level)
                expected *= EFFICIENCY * cell.world_size if cell.world_size > 1 else 1
                count("throughput", not cell.throughput.excludes(expected))
            if cell.world_size > 1 and cell.efficiency is not None:
                count("efficiency", not cell.efficiency.excludes(EFFICIENCY))
        for pair in compare(found):
            count("ratio", not pair.ratio.excludes(1.0))
        any_told, named = told(found)
        count("told", any_told)
        count("fastest", named)
        for cell in cells(_elsewhere(made, noise, random)):
            if cell.efficiency is not None:
                count("stored", not cell.efficiency.excludes(EFFICIENCY))
        made = _graphs(noise, repeats, random)
        for graph in break_evens(compare(cells(made.data))):
            count("saved", not graph.saved_s.excludes(np.exp(-made.level) * (1 - 1 / 3)))
    return {name: 100 * float(np.mean(values)) for name, values in hits.items()}


def _elsewhere(made: Study, noise: Noise, random: np.random.Generator) -> dict[str, Any]:
    """The study's runs on two workers, and five runs on one from another study, another day."""
    other = study(noise, 5, random, name="-other")
    ones = [run for run in other.data["runs"] if run["world_size"] == 1]
    for run in ones:
        run["throughput_samples_per_s"] *= 1 - noise.day
    twos = [run for run in made.data["runs"] if run["world_size"] == 2]
    return {"runs": twos, "baselines": ones}


def found_in_80_percent(noise: Noise, repeats: int, studies: int, seed: int = 0) -> float:
    """The true difference, in percent, of which 80 % are told, where one framework is slower."""

    def share(slower: float) -> float:
        random = np.random.default_rng([seed, repeats])
        said = [
            pair.told and pair.slower.framework == FRAMEWORKS[0]
            for _ in range(studies)
            for pair in compare(cells(study(noise, repeats, random, slower).data))
            if FRAMEWORKS[0] in _names(pair)
        ]
        return float(np.mean(said))

    low, high = 0.001, 1.0
    for _ in range(10):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if share(1 + middle) > 0.8 else (middle, high)
    return 100 * high


def _names(pair: Comparison) -> tuple[str, str]:
    return pair.faster.framework, pair.slower.framework


def looking(noise: Noise, after: Sequence[int], studies: int, seed: int = 0) -> float:
    """Percent of studies of equals that tell something at any look after so many repeats."""
    random = np.random.default_rng([seed, len(after)])
    wrong = 0
    for _ in range(studies):
        made = study(noise, after[-1], random).data
        wrong += any(
            told(cells({"runs": [r for r in made["runs"] if r["repeat"] < repeats]}), look)[0]
            for look, repeats in enumerate(after, 1)
        )
    return 100 * wrong / studies


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--repeats", type=int, nargs="*", default=[5, 10, 30])
    parser.add_argument("--rows", nargs="*", help="words that a row's name begins with")
    options = parser.parse_args()
    console = Console(width=150, highlight=False)
    names = ("throughput", "ratio", "efficiency", "stored", "saved", "told", "fastest")
    table = Table("noise", "n", *names, "found, %", title=f"{options.studies} studies, in percent")
    for row in ROWS:
        if options.rows and not row.name.startswith(tuple(options.rows)):
            continue
        for repeats in options.repeats:
            found = judged(row, repeats, options.studies)
            power = found_in_80_percent(row, repeats, max(options.studies // 20, 10))
            shown = [f"{found[name]:.1f}" if name in found else "" for name in names]
            table.add_row(row.name, str(repeats), *shown, f"{power:.2f}")
    console.print(table)
    if not options.rows:
        for after in ((3, 5, 10), tuple(range(3, 21))):
            share = looking(ROWS[0], after, options.studies)
            console.print(f"looking after {after}: {share:.1f} % tell something at any look")


if __name__ == "__main__":
    main()
