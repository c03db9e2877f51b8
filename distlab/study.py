"""Many runs as one: a Hydra multirun, one run after the other, ending in one table.

Hydra calls :class:`Study` around its jobs (``hydra.callbacks`` in ``conf/config.yaml``).
"""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distlab.errors import DistlabError, WorkerError
from distlab.progress import Display, complain


class Study(Callback):
    """Collects the runs of a multirun and shows them side by side.

    A failed run is said to have failed, is never shown as a figure, and doesn't stop the others;
    the command then ends with an error.
    """

    def __init__(self) -> None:
        self._summaries: list[dict[str, Any]] = []
        self._in_multirun = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin to collect."""
        self._in_multirun = True

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Take a run's summary, or say why there is none."""
        if not self._in_multirun:
            return
        if job_return.status is JobStatus.COMPLETED:
            self._summaries.append(job_return.return_value)
            return
        try:
            _ = job_return.return_value
        except (DistlabError, WorkerError) as error:
            complain(error)
            job_return.return_value = SystemExit(1)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the runs side by side."""
        if self._summaries:
            with Display() as display:
                display.report(self._summaries, Path(config.hydra.sweep.dir).resolve())
