"""Many runs as one: a Hydra multirun, one run after the other, ending in one table.

Hydra calls :class:`Study` around its jobs (``hydra.callbacks`` in ``conf/config.yaml``).
"""

import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distlab.measure.efficiency import scaling
from distlab.progress import Display


class Study(Callback):
    """Collects the runs of a multirun and shows them side by side.

    Where the study holds a run with one worker that differs in nothing else, a run also gets its
    speed-up and scaling efficiency, in the table, in ``study.json`` and in MLflow. A failed run is
    no figure and doesn't stop the others; the command then exits with 1.
    """

    def __init__(self) -> None:
        self._summaries: list[dict[str, Any]] | None = None
        self._failed = 0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin to collect."""
        self._summaries = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Take a run's summary, or count it as failed."""
        if self._summaries is None:
            return
        if job_return.return_value is None:
            self._failed += 1
        else:
            self._summaries.append(job_return.return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the runs side by side."""
        folder = Path(config.hydra.sweep.dir).resolve()
        with Display() as display:
            if self._summaries:
                relate(self._summaries)
                (folder / "study.json").write_text(json.dumps(self._summaries, indent=2) + "\n")
                display.report(self._summaries, folder)
            if self._failed:
                display.say(f"{self._failed} run(s) failed; see above")
                raise SystemExit(1)


def relate(summaries: list[dict[str, Any]]) -> None:
    """Add speed-up and scaling efficiency to the summaries and their MLflow runs."""
    from distlab import tracking

    for summary in summaries:
        found = scaling(summary, summaries)
        if found is None:
            continue
        figures = {"speedup": found.speedup, "scaling_efficiency": found.efficiency}
        summary.update(figures, baseline_run_id=found.baseline_run_id)
        tracking.add_scaling(summary["mlflow"], figures, found.baseline_run_id)
