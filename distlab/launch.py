"""The entry: ``python -m distlab.launch framework=torch gpus=4``. Driver only, no framework."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import hydra
import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distlab import __version__
from distlab.cluster.connect import disconnected_at_end
from distlab.console import (
    FAILED,
    complain,
    print_to_stderr,
    print_to_stdout,
    ready,
    terminal_is_gone,
    unread,
)
from distlab.doctor import preflight
from distlab.errors import DistlabError, WorkerError
from distlab.experiment.command_line import words
from distlab.experiment.command_line.refused import refused
from distlab.experiment.config_tree import CONF, register
from distlab.experiment.options import Options
from distlab.experiment.sizes import in_study
from distlab.experiment.validate import validate
from distlab.masking import learn, learn_environment
from distlab.runs import run, study
from distlab.runs.job import hand_over
from distlab.runs.log import driver_log, hide_secrets
from distlab.runs.session import Session
from distlab.runs.shown.progress import Display

_log = logging.getLogger(__name__)
_received: list[int] = []
_composed: list[bool] = []


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _compose_and_run(options: DictConfig) -> Options | None:
    """What Hydra calls with each composed config.

    In a multirun it returns the options, or None for a mistake: :mod:`distlab.runs.sweep` collects
    them and has them run as a study.
    """
    _composed.append(True)
    job = HydraConfig.get()
    single = job.mode is RunMode.RUN
    run_dir = Path(job.runtime.output_dir)
    overrides = words.overrides(job)
    learn(OmegaConf.to_container(options))
    hide_secrets(run_dir)
    try:
        validated = validate(options)
        if validated.resume is not None:
            _refuse_many(validated, single)
        if not single:
            in_study(validated)
            return validated
        if hand_over.asked([validated]):
            hand_over.hand_over(validated, run_dir)
        elif validated.repeats > 1 or validated.study:
            experiment = job.runtime.choices.get("experiment")
            study.conduct([validated], run_dir, overrides, experiment)
        else:
            _run(validated, run_dir, overrides)
    except (DistlabError, WorkerError, OmegaConfBaseException) as error:
        # Beyond this function, Hydra would add a line of its own.
        told = refused(error) if isinstance(error, OmegaConfBaseException) else error
        if isinstance(told, DistlabError):
            told.fix = told.fix.replace("{command}", _command(overrides))
        complain(told)
        if single:
            sys.exit(FAILED)
    return None


def _run(options: Options, run_dir: Path, overrides: Sequence[str]) -> None:
    """A run by itself, a new one or one that goes on."""
    with driver_log(run_dir), Display() as display, Session() as session:
        begun = _command_time()
        try:
            if options.resume is None:
                summary = run.execute(options, run_dir, begun, display, session)
            else:
                summary = run.go_on(options, run_dir, begun, display, session, overrides)
        except (DistlabError, WorkerError):
            _log.exception("the run failed")
            raise
        display.report([summary], run_dir)


def _refuse_many(options: Options, single: bool) -> None:
    """A run that goes on is one run."""
    if not single or options.study or options.repeats > 1:
        raise DistlabError(
            f"resume={options.resume} of a command with several runs",
            "a run by itself goes on by itself",
            f"python -m distlab.launch resume={options.resume}",
        )


def main() -> None:
    """Run the command line.

    It exits with 0 on success, 1 on an error, and, as shells tell it, 128 and the number of the
    signal that ended it: 130 for SIGINT (Ctrl-C), 143 for SIGTERM, 129 for SIGHUP.
    """
    # Where it is ignored it stays so: nohup lets a command outlive its terminal.
    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    for number in (signal.SIGINT, signal.SIGTERM, *[signal.SIGHUP] * hung_up):
        signal.signal(number, _interrupt)
    ready()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    learn_environment()
    register()
    if "--version" in sys.argv:
        # Hydra would tell its own.
        print_to_stdout(f"distlab {__version__}")
        return
    try:
        words.take()
        preflight.here()
        with disconnected_at_end():
            _compose_and_run()
    except (HydraException, OmegaConfBaseException) as error:
        complain(refused(error))
        sys.exit(FAILED)
    except ValueError as error:
        if _composed:
            raise
        # Of a command line that it doesn't take, Hydra raises this, too.
        complain(refused(error))
        sys.exit(FAILED)
    except DistlabError as error:
        complain(error)
        sys.exit(FAILED)
    except BrokenPipeError:
        unread()
        sys.exit(FAILED)
    except KeyboardInterrupt as stopped:
        if not isinstance(stopped, hand_over.Stopped):
            print_to_stderr("interrupted: a run that had begun is recorded as KILLED")
        sys.exit(128 + [*_received, signal.SIGINT][0])


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    """End the run; SIGTERM and SIGHUP do what Ctrl-C does."""
    # Not in the exception, in whose place Ray may raise its own.
    _received.append(signal_number)
    if signal_number == signal.SIGHUP:
        terminal_is_gone()
    raise KeyboardInterrupt


def _command(overrides: Sequence[str]) -> str:
    """The command as it was given, without its choice of devices."""
    return words.command([w for w in overrides if w.split("=")[0] not in ("gpus", "device")])


def _command_time() -> float:
    """When this process started, in seconds since 1970."""
    return float(psutil.Process().create_time())


if __name__ == "__main__":
    main()
