"""The driver's log of a run: what its libraries and distlab itself have to say, in a file."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from distlab import files
from distlab.masking import mask

FILE = "driver.log"


class _Masking(logging.Formatter):
    """Lines and tracebacks without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class _File(logging.FileHandler):
    """A log that ends nothing, and fills no terminal, when its disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave out a line that cannot be written."""


@contextlib.contextmanager
def driver_log(folder: Path) -> Iterator[None]:
    """Send log lines from INFO up to ``driver.log`` in ``folder`` during the block."""
    handler = _File(folder / FILE, delay=True)
    handler.setFormatter(_Masking("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):  # of a last line
            handler.close()


def hide_secrets(folder: Path) -> None:
    """Mask what Hydra wrote of the command into its own files in and right below a folder."""
    for pattern in (".hydra/*.yaml", "*/.hydra/*.yaml", "multirun.yaml"):
        for file in folder.glob(pattern):
            text = file.read_text(encoding="utf-8")
            if (shown := mask(text)) != text:
                files.write(file, shown)
