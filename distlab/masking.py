"""Passwords and tokens in what was asked: found here, and told nowhere.

An address may hold a password (``http://bob:PASSWORD@host``, ``...?token=TOKEN``), and a variable
that workers are given may be one (``framework.env.HF_TOKEN=...``). What is written or shown goes
through :func:`mask`; what is used doesn't.
"""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
"""What stands where a secret stood."""

NAME = (
    r"[\w.\-]*(?:password|passwd|secret|token|api_?key|access_?key|private_?key|credential)[\w\-]*"
    r"(?<!_path)(?<!_file)"  # it tells where a secret is, and holds none
)
QUERY = rf"{NAME}|pwd|sig|signature|key"
# user:PASSWORD@ of an address; a password may hold ":" and "@", though it should not.
_ADDRESS = re.compile(r"(?<=://)([^\s/?#:@'\"]*):([^\s/?#'\"]+)@")
_QUERY = re.compile(rf"([?&;](?:{QUERY})=)([^&;#\s'\",)}}\]]+)", re.IGNORECASE)
# NAME=VALUE, NAME: VALUE or "NAME": "VALUE", as commands, YAML and JSON have it.
_NAMED = re.compile(
    rf"""((?<![\w.?&;])(?:{NAME})["']?(?:=|:[ ]))(?:"[^"\n]*"|'[^'\n]*'|[^\s"',}}&;]+)""",
    re.IGNORECASE,
)
_BY_NAME = re.compile(NAME, re.IGNORECASE)
# What is looked for by itself is no word, which would be found where it has nothing to hide:
# letters with digits or signs, or something long.
_TELLING = re.compile(r"(?=.*[a-zA-Z])(?=.*[^a-zA-Z]).{5,}|.{12,}", re.DOTALL)

_known: set[str] = set()


def learn(value: Any, name: str = "") -> None:
    """Remember the secrets among options, which :func:`mask` then finds wherever they stand.

    Parameters
    ----------
    value:
        An option, or a mapping or list of such.
    name:
        What it is called.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            learn(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            learn(inner)
    elif isinstance(value, str):
        found = [match[2] for match in _ADDRESS.finditer(value)]
        found += [match[2] for match in _QUERY.finditer(value)]
        if name and _BY_NAME.fullmatch(name):
            found.append(value)
        _known.update(
            form
            for secret in found
            for form in (secret, unquote(secret), quote(secret, safe=""))
            if _TELLING.fullmatch(form) and form != HIDDEN
        )


def mask(text: str) -> str:
    """A text with ``***`` for each secret in it."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _ADDRESS.sub(rf"\1:{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    return _NAMED.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    """A value after its name, in quotes where it was."""
    quote_mark = match[0][-1] if match[0][len(match[1])] in "\"'" else ""
    return f"{match[1]}{quote_mark}{HIDDEN}{quote_mark}"


def masked(value: Any) -> Any:
    """Plain data with its texts masked."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if isinstance(inner, str) and inner and _BY_NAME.fullmatch(str(key))
            else masked(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(inner) for inner in value]
    return mask(value) if isinstance(value, str) else value


def learn_environment() -> None:
    """Remember what MLflow's own variables hold."""
    learn({name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")})
