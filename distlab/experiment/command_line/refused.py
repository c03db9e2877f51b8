"""What Hydra refuses on a command line, told as an error whose fix is a command to paste."""

import difflib
import re
from collections.abc import Callable, Sequence

from hydra.errors import OverrideParseException

from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.config_tree import names, package_of
from distlab.experiment.options import Options, flat

# Parts of Hydra's complaints that say nothing to a user of distlab.
_NOISE = re.compile(
    r" ?To append to your config use \S+| ?(?:full_key|reference_type|object_type)[:=] ?\S+"
    r"|Error merging override \S+ |See https://hydra\.cc\S* for details"
)
_UNKNOWN = re.compile(r"Could not (?:override|find) '([\w./]+)'")
_WRONG = re.compile(
    r"(?:could not be converted|is not a valid|Invalid value|Cannot assign|Invalid type)"
)


def refused(error: Exception) -> DistlabError:
    """Hydra's complaint in asked, found and fix: this command, mended where that can be."""
    typed = words.typed()
    reason = f"{error}\n{error.__cause__ or ''}".split("Config search path:")[0]
    told = _NOISE.sub("", " ".join(filter(None, map(str.strip, reason.splitlines())))).strip()
    meant: Sequence[str] = typed
    if isinstance(error, OverrideParseException):
        name = _name(error.override.partition("=")[0])
        told = f"no option has such a name and value: {error.override}"
        meant = _exemplary(typed, name) if name in flat(Options()) else _renamed(typed, name)
    elif "Ambiguous value for argument" in told:
        told = f"{told.split(' 1. ')[0]}: several values, separated by commas, make a study (-m)"
        meant = ["-m", *typed]
    elif "An item is already at" in told:
        told = told.split(" Either remove")[0]
        meant = [word.lstrip("+") for word in typed]
    elif unknown := _UNKNOWN.search(told):
        meant = _renamed(typed, unknown[1])
    elif _WRONG.search(told) and (key := re.search(r"full_key: ([\w.]+)", reason)):
        meant = _exemplary(typed, key[1], re.search(r"expected one of \[(.*)\]", told))
    fix = "python -m distlab.launch --help"
    if list(meant) != typed:
        fix = f"{words.command(meant)}\n{fix}"
    return DistlabError(words.command(), told, fix)


def _with(typed: Sequence[str], name: str, made: Callable[[str], str]) -> list[str]:
    """The words with another one, made of its value, for an option."""
    split = [(word, *word.partition("=")) for word in typed]
    return [made(value) if _name(given) == name else word for word, given, _, value in split]


def _name(given: str) -> str:
    """What an option is called: ``a.b`` in ``+a.b=1``."""
    return given.strip().lstrip("+")


def _nearest(name: str) -> str | None:
    """The option, or group of choices, that a mistyped name may mean."""
    groups = [choice.partition("/")[0] for choice in names() if "/" in choice]
    return next(iter(difflib.get_close_matches(name, [*flat(Options()), *groups], 1)), None)


def _renamed(typed: Sequence[str], unknown: str) -> list[str]:
    """The words with the nearest option, or choice of a group, for one that isn't there."""
    group, slash, choice = unknown.rpartition("/")
    if not slash:
        near = _nearest(unknown)
        return _with(typed, unknown, lambda value: f"{near}={value}") if near else list(typed)
    options = [name.partition("/")[2] for name in names() if name.startswith(f"{group}/")]
    known = {option.lower(): option for option in options}
    if group == "framework":
        known |= {package_of(option): option for option in options}
    close = difflib.get_close_matches(choice.lower(), known, 1, 0.7)
    near = next((one for one in [*known, *close] if one in close or one in choice.lower()), None)
    if near is None:
        return list(typed)

    def mended(value: str) -> str:
        # In a multirun the choice is one of several.
        return ",".join(known[near] if one == choice else one for one in value.split(","))

    return _with(typed, group, lambda value: f"{group}={mended(value)}")


def _exemplary(typed: Sequence[str], name: str, choices: re.Match[str] | None = None) -> list[str]:
    """The words with a value that is possible for one that isn't: the nearest, or the default."""
    default = flat(Options()).get(name, {})

    def possible(value: str) -> str:
        if choices:
            near = difflib.get_close_matches(value.lower(), choices[1].split(", "), 1)
            return next(iter(near), value)
        usual = "1" if default is None else str(default).lower()
        return value if isinstance(default, dict) or usual == "???" else usual

    return _with(typed, name, lambda value: f"{name}={possible(value)}")
