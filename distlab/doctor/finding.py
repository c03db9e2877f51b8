"""One thing that the doctor looked at, and what it means for a run."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What a finding means: nothing, something to know, or a run that would fail or be wrong."""

    fine = "ok"
    note = "note"
    wrong = "WRONG"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it.

    Attributes
    ----------
    what:
        The thing, in a word or two.
    found:
        How it is.
    advice:
        A sentence or a command, where something is off.
    level:
        What it means for a run.
    """

    what: str
    found: str
    advice: str = ""
    level: Level = Level.fine


def note(what: str, found: str, advice: str) -> Finding:
    """Something to know: runs work, or say by themselves what they lack."""
    return Finding(what, found, advice, Level.note)


def wrong(what: str, found: str, advice: str) -> Finding:
    """Something without which a run fails, or its figures are wrong."""
    return Finding(what, found, advice, Level.wrong)
