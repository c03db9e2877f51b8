"""What a cell's speed-up is measured against: one worker, and everything else equal."""

from collections.abc import Sequence

from distlab.measure import efficiency
from distlab.measure.blocks import Measured, unpaired
from distlab.measure.statistics import Estimate
from distlab.outcome.caveats import counts
from distlab.report.figures.runs import SPEED, Run, ratio, sample

HERE = "this study"


def over_one_worker(
    counted: Sequence[Run], ranked: Sequence[Run], stored: Sequence[Run]
) -> tuple[Estimate | None, str | None]:
    """The speed-up of a cell over one worker, and where the runs with one worker are from.

    Parameters
    ----------
    counted:
        The cell's counted runs; may be empty.
    ranked:
        The counted runs of the study's ranked cells: no other is a measure for anything.
    stored:
        Runs with one worker from the store, for studies without any of their own.

    Returns
    -------
    tuple
        The speed-up and ``this study`` or ``run <id>``; None and None without such runs.
    """
    if not counted:
        return None, None
    if counted[0]["world_size"] == 1:
        return Estimate(1.0, None, None, len(counted)), HERE
    own = efficiency.baselines(counted[0], ranked)
    if own:
        return ratio(counted, own).estimate, HERE
    others = [run for run in efficiency.baselines(counted[0], stored) if counts(run)]
    if not others:
        return None, None
    # Runs of another study: their repeats are no pairs of these, and may be of several studies.
    measured = {k: Measured(run[SPEED], run.get("group")) for k, run in enumerate(others)}
    named = ", ".join(f"run {run['mlflow']['run_id']}" for run in others)
    return unpaired(sample(counted), measured, apart=True).estimate, named
