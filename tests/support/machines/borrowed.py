"""An environment that costs no download: its packages are those of this Python."""

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path


def commands(path: Path, named: Sequence[str] = ()) -> list[list[str]]:
    """Commands that make it, in place of those of :mod:`distlab.environment.make`."""
    python, here = str(path / "bin" / "python"), sysconfig.get_path("purelib")
    # As a site: what is installed there editable is a line of such a file, too.
    line = f"import site; site.addsitedir({here!r})"
    see = f"import sysconfig; open(sysconfig.get_path('purelib') + '/a.pth', 'w').write({line!r})"
    return [[sys.executable, "-m", "venv", "--without-pip", str(path)], [python, "-c", see]]
