"""The driver's log of a run: what its libraries and distlab itself have to say, in a file."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

FILE = "driver.log"


@contextlib.contextmanager
def driver_log(folder: Path) -> Iterator[None]:
    """Send log lines from INFO up to ``driver.log`` in ``folder`` during the block."""
    handler = logging.FileHandler(folder / FILE, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
