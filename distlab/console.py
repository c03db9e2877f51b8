"""What any command says on a terminal: a mistake, a plain line, how to see a store in a browser."""

import io
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from distlab.errors import DistlabError, WorkerError
from distlab.masking import mask

FAILED, INTERRUPTED = 1, 130
"""Exit codes of a command: of a mistake or a failure, and of Ctrl-C."""

# Control characters but tab and line feed, marks that turn the direction of text around, and
# halves of characters, which no file can hold.
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """A text with ``U+FFFD`` for what would command a terminal: control characters, and others."""
    return _UNSHOWN.sub("\ufffd", text)


class Terminal(Console):
    """A terminal for texts of any origin, whose reader may leave.

    No text is read as markup, or commands the terminal. What nobody reads is dropped, and the work
    goes on.
    """

    def __init__(self, **options: Any) -> None:
        plain = {"highlight": False, "markup": False, "emoji": False}
        super().__init__(**{**plain, **options})

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts as they are, but for control characters."""
        super().print(*(shown(one) if isinstance(one, str) else one for one in objects), **options)

    def on_broken_pipe(self) -> None:
        """Stop printing, where rich would end the process."""
        self.quiet = True
        unread()


def counted(number: int, noun: str) -> str:
    """A number of things in words: ``1 epoch``, ``2 epochs``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def unread() -> None:
    """Lead stdout nowhere: its reader has left, as ``head`` does."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def terminal_is_gone() -> None:
    """Lead stdout and stderr nowhere if they are a terminal: one that hung up fails every word."""
    with Path(os.devnull).open("w") as nowhere:
        for stream in (1, 2):
            # It no longer says that it is one (isatty), but it is a device.
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere.fileno(), stream)


def ready() -> None:
    """Make stdout and stderr such that printing never fails, whatever they are.

    A closed one leads nowhere, and not into the next file that is opened; a character that one
    cannot show is told by its number.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(error: DistlabError | WorkerError) -> None:
    """Show a user's mistake or a failed worker on stderr."""
    console = Terminal(stderr=True, soft_wrap=True)
    if isinstance(error, DistlabError):
        console.print("distlab: error", style="bold red")
        console.print(mask(str(error)))
    else:
        console.print("distlab: the run failed, and is recorded as FAILED", style="bold red")
        console.print(mask(f"{error}\nlog:   {error.log}"))


def answer(
    act: Callable[[list[str], Terminal], int | None], usage: str, words: Sequence[str] | None
) -> int:
    """What each command does around its work: its usage if asked, mistakes, Ctrl-C.

    Parameters
    ----------
    act:
        Does what the words ask for; its exit code, or None for 0.
    usage:
        What ``--help`` before any ``--`` shows.
    words:
        The command line after the command; None for this process's own.

    Returns
    -------
    int
        0, what ``act`` returned, :data:`FAILED` or :data:`INTERRUPTED`.
    """
    ready()
    given = list(sys.argv[1:] if words is None else words)
    terminal = Terminal()
    asked = given[: given.index("--")] if "--" in given else given
    if {"-h", "--help"} & set(asked):
        terminal.print(usage, end="", soft_wrap=True)
        return 0
    try:
        return act(given, terminal) or 0
    except DistlabError as error:
        complain(error)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def print_to_stdout(text: str) -> None:
    """Print a plain line."""
    print(text)  # noqa: T201


def print_to_stderr(text: str) -> None:
    """Print a plain line on stderr."""
    print(shown(mask(text)), file=sys.stderr)  # noqa: T201


def without_user(uri: str) -> str:
    """A server's address for a browser, without the user and the password that it may hold."""
    return mask(re.sub(r"(?<=://)[^/@]*@", "", uri))


def ui_command(uri: str) -> str:
    """How to see a store in a browser: the server's address, or the command that serves a file."""
    if uri.startswith("http"):
        return without_user(uri)
    shown = mask(uri)
    return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
