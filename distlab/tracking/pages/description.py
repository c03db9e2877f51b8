"""A run in a few lines of Markdown, for the top of its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from distlab.console import counted
from distlab.experiment.training import stopping
from distlab.outcome import caveats, exchange


def _exchange_line(summary: Mapping[str, Any]) -> str:
    """What the exchange cost, in a line of Markdown; nothing where it was not measured."""
    said = exchange.in_words(summary)
    return f"\n\nExchange of gradients: {said}." if said else ""


def _caveat_lines(summary: Mapping[str, Any]) -> str:
    """Each caveat of a run as a line of Markdown: what was found, what it means, what follows."""
    return "".join(
        f"\n\n**{caveat.code.words[:1].upper()}{caveat.code.words[1:]}**: {caveat.detail}. "
        f"{caveat.code.sentence}{'' if caveat.code.ranked else ' The run is not ranked.'}"
        for caveat in caveats.of(summary)
    )


def _length(summary: Mapping[str, Any]) -> str:
    """How many epochs the run took."""
    if summary.get("stopped") is None:
        return counted(summary["epochs"], "epoch")
    return f"{stopping.passed(summary)} epochs"


def description(summary: dict[str, Any], failed: Sequence[str]) -> str:
    """The run in a few lines of Markdown, for the top of its page."""
    verdict = (
        f"**Not verified**: {', '.join(failed)}." if failed else "Verified: all checks passed."
    )
    reached = summary["time_to_accuracy_s"]
    target, accuracy = f"{summary['target_accuracy']:.1%}", summary["test_accuracy"][-1]
    when = f"{reached:.2f} s to {target}" if reached is not None else f"{target} not reached"
    rounded = "" if summary["precision"] == "fp32" else f", {summary['precision']}"
    return (
        f"**{summary['framework']} {summary['framework_version']}** "
        f"({summary['execution']}{rounded}) "
        f"trained {summary['model']} on {summary['data']} for "
        f"{_length(summary)} on "
        f"{counted(summary['world_size'], summary['device'] + ' worker')}, "
        f"{summary['device_name']}, {counted(summary['threads_per_worker'], 'thread')} each, "
        "global batch "
        f"{summary['global_batch_size']} ({summary['scaling']} scaling).\n\n"
        "| throughput | test accuracy | time to accuracy | start-up |\n|---|---|---|---|\n"
        f"| {summary['throughput_samples_per_s']:,.0f} samples/s "
        f"| {'none, of noise' if accuracy is None else f'{accuracy:.2%}'} "
        f"| {'' if accuracy is None else when} "
        f"| {summary['startup_s']:.1f} s |\n\n{verdict}"
        f"{_exchange_line(summary)}{_caveat_lines(summary)}"
    )
