"""What the check found of a framework, in words and in a table."""

from collections.abc import Callable, Iterable
from typing import Any

from distlab.fairness.rounding import FP32_FIRST, TELLING, loss_bounds

HEAD = (
    *("model", "execution", "precision", "samples/s", "us/step", "compile s", "99 % in s"),
    *("accuracy", "first loss off", "ten off", "quickstart x", "J/1000"),
)
LEGEND = """\
samples/s: over all epochs; us/step: in the fastest. compile s: what the first steps took longer.
first loss off, ten off: from float64's, relatively, at a batch of 64. quickstart x: times as many
samples/s as the framework's own quickstart, which ran once. J/1000: energy of 1,000 samples."""


def surroundings(found: dict[str, Any]) -> str:
    """What was there before anything ran."""
    gpu, others = found["gpu"], found["other_processes_on_gpu"]
    told = {
        "Python": found["python"],
        "NVIDIA driver": found["driver"],
        "GPU": gpu and f"{gpu['name']} {gpu['pci_address']}",
        "other processes on it": others,
        "C compiler": found["c_compiler"],
        "Python's header": found["python_header"] or None,
    }
    if gpu is None and found["driver"]:
        told["GPU"] = "not told (pip install nvidia-ml-py tells of it, and of its energy)"
    return ", ".join(
        f"{name}: {'none' if value is None else 'there' if value is True else value}"
        for name, value in told.items()
    )


def lines(result: dict[str, Any]) -> list[str]:
    """The result of one framework, line by line."""
    failed = [one for one in result["conformance"] if not one["passed"]]
    count = len(result["conformance"])
    trained = [cell for cell in result["training"] if "samples_per_s" in cell]
    name = result["framework"]
    if trained:
        name += f" {trained[0]['framework_version']} on {trained[0]['device_name']}"
    found = [f"\n{name}: {count - len(failed)} of {count} conformance checks passed"]
    found += [
        f"  FAILED {one['check']} ({one['execution']}, {one['model']}): {one['detail']}"
        for one in failed
    ]
    found += _table([HEAD, *(_row(cell, result["quickstart"]) for cell in trained)])
    found += [f"  {verdict}" for verdict in verdicts(trained)]
    for cell in result["training"]:
        keys = "model", "execution", "precision"
        name = " ".join(str(cell[key]) for key in keys if key in cell)
        found += [f"  WRONG {name}: {text}" for text in cell.get("wrong", ())]
        found += [f"  skipped {name}: {cell['skipped']}"] if "skipped" in cell else []
    for model, plain in result["quickstart"].items():
        found += [] if isinstance(plain, float) else [f"  quickstart of {model}: {plain}"]
    took = ", ".join(f"{part} {seconds:.0f}" for part, seconds in result["seconds"].items())
    return [*found, f"  seconds: {took}"]


def _row(cell: dict[str, Any], quickstart: dict[str, Any]) -> tuple[str, ...]:
    plain = quickstart.get(cell["model"])
    errors = cell["loss_errors"]["64"]
    samples = cell["samples_per_s"] * sum(cell["epoch_s"])
    joule, reached = cell["energy_j"], cell["time_to_99_s"]
    return (
        *(cell["model"], cell["execution"], cell["precision"]),
        f"{cell['samples_per_s']:,.0f}",
        f"{cell['step_us']:.1f}",
        f"{cell['compile_s']:.1f}" + " (kept)" * bool(cell["compiled_from_cache"]),
        "not reached" if reached is None else f"{reached:.2f}",
        f"{cell['test_accuracy'][-1]:.4f}",
        _off(errors[:1]),
        _off(errors),
        f"{cell['samples_per_s'] / plain:.2f}" if isinstance(plain, float) else "-",
        "not measured" if joule is None else f"{1e3 * joule / samples:.3g}",
    )


def _off(errors: list[float | None]) -> str:
    """The largest of some errors."""
    return "not a number" if None in errors else f"{max(filter(None, errors), default=0.0):.1e}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def verdicts(cells: Iterable[dict[str, Any]]) -> list[str]:
    """What nobody knew before a GPU was seen, answered from the cells that were trained."""
    cells = list(cells)
    found = [
        *_asked(cells, "fp32", "fp32 keeps to its bounds at a batch of", _within),
        *_asked(cells, "tf32", "tf32 rounds products at a batch of", _rounds),
    ]
    if slower := [cell["first_epoch_over_fastest"] for cell in cells]:
        found.append(f"the first epoch over the fastest: {min(slower):.2f} to {max(slower):.2f}")
    return found


Answer = Callable[[list[float | None], int], tuple[bool, str]]


def _asked(cells: list[dict[str, Any]], precision: str, asked: str, answer: Answer) -> list[str]:
    """A line for each batch: yes or no, and why, by model and execution."""
    answers: dict[str, list[tuple[bool, str]]] = {}
    for cell in cells:
        if cell["precision"] != precision:
            continue
        for batch, errors in cell["loss_errors"].items():
            yes, why = answer(errors, int(batch))
            text = f"{cell['model']} {cell['execution']} {'' if yes else 'NO, '}{why}"
            answers.setdefault(batch, []).append((yes, text))
    return [
        f"{asked} {batch}: {'yes' if all(yes for yes, _ in told) else 'no'} "
        f"({'; '.join(text for _, text in told)})"
        for batch, told in sorted(answers.items(), key=lambda item: int(item[0]))
    ]


def _within(errors: list[float | None], batch: int) -> tuple[bool, str]:
    """Whether no algorithm (FFT, Winograd) errs by more than the bounds of ``fp32``."""
    bounds = loss_bounds("fp32", batch)
    known = [error for error in errors if error is not None]
    yes = len(known) == len(errors) and known[0] <= bounds.first and max(known) <= bounds.ten
    return yes, f"{_off(errors[:1])} of {bounds.first:.0e}, {_off(errors)} of {bounds.ten:.0e}"


def _rounds(errors: list[float | None], batch: int) -> tuple[bool, str]:
    """Whether the first losses are further off than float32's can be."""
    first = errors[:TELLING]
    known = [error for error in first if error is not None]
    yes = len(known) == len(first) and max(known) > FP32_FIRST
    return yes, f"{_off(first)} against {FP32_FIRST:.0e}"


def right(result: dict[str, Any]) -> bool:
    """Whether nothing of a framework's result is wrong."""
    cells = result["training"]
    checked = all(one["passed"] for one in result["conformance"])
    return bool(cells) and checked and not any(cell.get("wrong") for cell in cells)
