"""The entry: ``python -m distlab.launch framework=torch gpus=4``. Driver only, no framework."""

import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import hydra
import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distlab import config, run
from distlab.cluster import disconnected_at_end
from distlab.errors import DistlabError, WorkerError
from distlab.progress import Display, complain, print_to_stderr

_PACKAGED = Path(__file__).parent / "conf"
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "conf"
_log = logging.getLogger(__name__)
FAILED, INTERRUPTED = 1, 130


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def _compose_and_run(options: DictConfig) -> None:
    """What Hydra calls with each composed config."""
    validated = config.validate(options)
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    with Display() as display:
        summary = run.execute(validated, run_dir, _command_time(), display)
        display.report([summary], run_dir)


def main() -> None:
    """Run the command line; exit 0 on success, 1 on an error, 130 if interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    config.register()
    try:
        with disconnected_at_end():
            _compose_and_run()
    except DistlabError as error:
        complain(error)
        sys.exit(FAILED)
    except (HydraException, OmegaConfBaseException) as error:
        complain(_refused(error))
        sys.exit(FAILED)
    except WorkerError as error:
        _log.exception("the run failed")
        print_to_stderr(
            f"distlab: the run failed and is recorded as FAILED\n{error}\nlog:   {error.log}"
        )
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print_to_stderr("interrupted: the run is recorded as KILLED")
        sys.exit(INTERRUPTED)


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    """End the run; SIGTERM does what Ctrl-C does."""
    raise KeyboardInterrupt


def _refused(error: Exception) -> DistlabError:
    """Hydra's complaint about the command line as an error that can be mended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join(sys.argv[1:])
    return DistlabError(words, " ".join(lines[:3]), "python -m distlab.launch --help")


def _command_time() -> float:
    """When this process started, in seconds since 1970."""
    return float(psutil.Process().create_time())


if __name__ == "__main__":
    main()
