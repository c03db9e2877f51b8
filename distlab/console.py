"""What any command says on a terminal: a mistake, a plain line, how to see a store in a browser."""

import shlex
import sys

from rich.console import Console

from distlab.errors import DistlabError, WorkerError
from distlab.masking import mask


def complain(error: DistlabError | WorkerError) -> None:
    """Show a user's mistake or a failed worker on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if isinstance(error, DistlabError):
        console.print("distlab: error", style="bold red")
        console.print(mask(str(error)), markup=False)
    else:
        console.print("distlab: the run failed, and is recorded as FAILED", style="bold red")
        console.print(mask(f"{error}\nlog:   {error.log}"), markup=False)


def print_to_stderr(text: str) -> None:
    """Print a plain line on stderr."""
    print(mask(text), file=sys.stderr)  # noqa: T201


def ui_command(uri: str) -> str:
    """How to see a store in a browser: the server's address, or the command that serves a file."""
    shown = mask(uri)
    if uri.startswith("http"):
        return shown
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
