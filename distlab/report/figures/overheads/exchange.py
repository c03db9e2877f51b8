"""What the exchange of gradients costs a cell, over its runs."""

from collections.abc import Sequence

from distlab.measure.blocks import Measured, mean
from distlab.measure.statistics import Estimate
from distlab.outcome import exchange
from distlab.report.figures.runs import Run


def share(runs: Sequence[Run]) -> Estimate | None:
    """The exchange's share of a step: 1 less the ratio of times without and with it."""
    rest = {
        run["repeat"]: Measured(1 - run["communication_share"], run.get("group"))
        for run in _known(runs)
    }
    if not rest:
        return None
    found = mean(rest).typical
    low = None if found.high is None else 1 - found.high
    high = None if found.low is None else 1 - found.low
    return Estimate(1 - found.value, low, high, found.n)


def told(found: Estimate, runs: Sequence[Run]) -> bool:
    """Whether a share is told from 0 by its runs together or, of too few, by each."""
    if found.low is not None:
        return exchange.told(found.low)
    return all(exchange.told(run.get("communication_share_low")) for run in _known(runs))


def _known(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.get("communication_share") is not None]
