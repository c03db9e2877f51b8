"""``python -m distlab.environment create torch==2.12.1``: environments for workers."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from distlab.console import Terminal, answer
from distlab.environment import kept, make
from distlab.environment.made_of import BUILDS
from distlab.errors import DistlabError
from distlab.masking import learn_environment

USAGE = """\
python -m distlab.environment create FRAMEWORK[==VERSION] [name=NAME] [build=gpu] [-- ARGUMENTS]
python -m distlab.environment list
python -m distlab.environment remove NAME

Environments for workers: Python, this distlab, this Ray and one framework, in the user's cache
folder. Runs find them: framework.version=VERSION, framework.environment=NAME.

FRAMEWORK    torch, tf, paddle; with a version of it, or the newest that distlab names
name=NAME    what it is called (default: FRAMEWORK-VERSION, or FRAMEWORK)
build=gpu    what the framework's GPU extra names (default: cpu)
ARGUMENTS    for the installer (uv, or pip where there is no uv): --index-url ADDRESS
"""


@dataclass(frozen=True)
class Order:
    """What ``create`` was told."""

    framework: str
    version: str | None = None
    name: str | None = None
    build: str = "cpu"
    more: tuple[str, ...] = ()


def parse(words: Sequence[str]) -> Order:
    """Read the words behind ``create``.

    Raises
    ------
    DistlabError
        If they are no such order.
    """
    mine = list(words[: words.index("--")] if "--" in words else words)
    more = tuple(words[len(mine) + 1 :])
    asked = " ".join((kept.COMMAND, "create", *words))
    named = dict(word.split("=", 1) for word in mine[1:] if word.startswith(("name=", "build=")))
    framework, equals, version = mine[0].partition("==") if mine else ("", "", "")
    if not framework or "=" in framework or len(mine) > 1 + len(named):
        raise DistlabError(
            asked, "a framework is wanted, then options", f"{kept.COMMAND} create torch==2.13.0"
        )
    if equals and not kept.VERSION.fullmatch(version):
        raise DistlabError(asked, f"{version!r} is no version", kept.create(framework))
    build = named.get("build", "cpu")
    if build not in BUILDS:
        raise DistlabError(asked, f"the builds are {' and '.join(BUILDS)}", "build=gpu")
    return Order(framework, version or None, named.get("name"), build, more)


def show(terminal: Terminal) -> None:
    """Print the environments that there are, and where."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in kept.kept():
        facts = f"{one.framework} {one.version}", f"Python {one.python}", f"Ray {one.ray}"
        table.add_row(one.name, *facts, f"of no use now: {one.unfit}" if one.unfit else "")
    terminal.print(table if table.rows else "there is none", soft_wrap=True)
    terminal.print(f"in {kept.folder()}", soft_wrap=True)


def _do(words: list[str], terminal: Terminal) -> None:
    """Make, show or remove environments."""
    say = partial(terminal.print, soft_wrap=True)
    learn_environment()
    match words:
        case ["create", *rest]:
            order = parse(rest)
            made = make.create(
                *(order.framework, order.version, order.name, order.build, order.more, say)
            )
            say(f"made {made}: {made.path}\nruns take it: {_use(made)}")
        case ["remove", name]:
            kept.remove(name)
            say(f"removed {name}")
        case ["list"]:
            show(terminal)
        case _:
            asked = " ".join((kept.COMMAND, *words))
            found = "the commands are create, list and remove NAME"
            raise DistlabError(asked, found, f"{kept.COMMAND} --help")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if it is done, 1 on an error, 130 if interrupted."""
    return answer(_do, USAGE, words)


def _use(made: kept.Kept) -> str:
    """How a run is told to take it."""
    return f"python -m distlab.launch framework={made.framework} framework.environment={made.name}"


if __name__ == "__main__":
    sys.exit(main())
