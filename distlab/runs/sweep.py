"""Hydra's multirun as a study: Hydra makes the combinations, :mod:`distlab.runs.study` runs them.

Hydra calls :class:`Sweep` around its jobs (``hydra.callbacks`` in ``conf/config.yaml``); the jobs
only hand over their options.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distlab.console import complain
from distlab.doctor import preflight
from distlab.errors import DistlabError, WorkerError
from distlab.experiment.command_line import words
from distlab.experiment.options import Options
from distlab.runs import study
from distlab.runs.job import hand_over
from distlab.runs.log import FILE, hide_secrets


class Sweep(Callback):
    """Collects the combinations of a multirun and has them run as one study.

    A combination that is a mistake is counted as failed and doesn't stop the others; the command
    then exits with 1.
    """

    def __init__(self) -> None:
        self._planned: list[Options] | None = None
        self._refused = 0
        self._asked: dict[str, Any] = {}
        self._unheard: dict[str, None] = {}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """See that a run by itself can be recorded, before Hydra makes its folder."""
        _take(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin to collect."""
        _take(Path(config.hydra.sweep.dir))
        self._planned, self._asked = [], _own_sweep(config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Take a combination's options, or count it as refused."""
        if self._planned is None:
            return
        if _own_sweep(config) != self._asked:
            self._unheard[config.hydra.runtime.choices.get("experiment")] = None
        if isinstance(job_return.return_value, Options):
            self._planned.append(job_return.return_value)
        else:
            self._refused += 1

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Run the study."""
        if self._unheard:
            complain(_not_swept(words.overrides(config.hydra), list(self._unheard)))
            raise SystemExit(1)
        if not self._planned:
            raise SystemExit(1)
        folder = Path(config.hydra.sweep.dir).resolve()
        hide_secrets(folder)
        try:
            if hand_over.asked(self._planned):
                hand_over.hand_over(self._planned[0], folder)
                return
            study.conduct(
                self._planned,
                folder,
                words.overrides(config.hydra),
                config.hydra.runtime.choices.get("experiment"),
                self._refused,
            )
        except (DistlabError, WorkerError) as error:
            complain(error)
            raise SystemExit(1) from None
        except Exception as error:
            # Hydra would turn it into a warning.
            raise SystemExit(
                f"distlab: a fault of its own ended the study: {error!r}\n"
                f"log: {folder / FILE}\nwhat was recorded stays"
            ) from None


def _take(folder: Path) -> None:
    """Have a folder for records, or end the command."""
    try:
        preflight.writable(folder)
    except DistlabError as error:
        complain(error)
        raise SystemExit(1) from None


def _own_sweep(config: DictConfig) -> dict[str, Any]:
    """What the config files, and not the command, ask to be combined."""
    return dict(config.hydra.sweeper.get("params") or {})


def _not_swept(overrides: Sequence[str], experiments: Sequence[str]) -> DistlabError:
    """Hydra takes no notice of what an experiment combines that is itself combined."""
    commands = [f"python -m distlab.launch experiment={name}" for name in experiments]
    return DistlabError(
        " ".join(override for override in overrides if override.startswith("experiment=")),
        f"{' and '.join(experiments)} combine options themselves and cannot be combined",
        "\n".join(["a command for each:", *commands]),
    )
