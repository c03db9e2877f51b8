"""The bounds of what is read back, whatever it is: bytes, depth, lengths, numbers, characters."""

import json
from typing import Any

from distlab.console import shown

MOST_BYTES = 2**27
"""Of one document: a study of thousands of runs has a tenth of it."""
DEEPEST = 20
"""Lists and objects within each other."""
MOST = 20_000
"""Entries of a list or an object."""
LONGEST = 100_000
"""Characters of a text."""
GREATEST = 1e24
"""Of any number but a whole one, whose bound is 2**63; squares of it are still numbers."""


class NotRestoredError(ValueError):
    """What was read is not what it should be; the message says where, in one line."""


def parsed(text: bytes | str, longest: int = LONGEST) -> Any:
    """JSON as plain data; NaN and infinity, which earlier versions wrote, become None.

    Control characters in texts become ``U+FFFD``.

    Parameters
    ----------
    text:
        The document.
    longest:
        Characters that a text in it may have.

    Raises
    ------
    NotRestoredError
        If it is no JSON, or goes beyond what any record of distlab has.
    """
    if len(text) > MOST_BYTES:
        raise NotRestoredError(f"it holds more than {MOST_BYTES:,} bytes")
    try:
        found = json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise NotRestoredError(f"it is deeper than {DEEPEST} lists within each other") from None
    except ValueError as error:
        raise NotRestoredError(f"it is no JSON: {error}") from None
    return _bounded(found, longest, 0)


def number(text: Any, otherwise: float = 0.0) -> float:
    """A positive number that a tag of MLflow holds as text; another one where it holds none."""
    try:
        found = float(text)
    except (TypeError, ValueError):
        return otherwise
    return found if 0 <= found <= GREATEST else otherwise


def _bounded(value: Any, longest: int, depth: int) -> Any:
    """A value whose texts can be shown; one that is out of bounds is refused."""
    if depth > DEEPEST:
        raise NotRestoredError(f"it is deeper than {DEEPEST} lists within each other")
    if isinstance(value, dict | list) and len(value) > MOST:
        raise NotRestoredError(f"a list has more than {MOST:,} entries")
    if isinstance(value, dict):
        return {
            _text(name, longest): _bounded(inner, longest, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_bounded(inner, longest, depth + 1) for inner in value]
    if isinstance(value, str):
        return _text(value, longest)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise NotRestoredError("a whole number is beyond 2**63")
    if isinstance(value, float) and not abs(value) <= GREATEST:
        raise NotRestoredError(f"a number is beyond {GREATEST:g}")
    return value


def _text(value: str, longest: int) -> str:
    if len(value) > longest:
        raise NotRestoredError(f"a text has more than {longest:,} characters")
    return shown(value)
