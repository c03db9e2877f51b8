"""The words of the command line: as people type them, and as Hydra's grammar takes them.

Hydra reads a value before it knows what it is for: ``2024_06_01`` is a number, ``/tmp/a,b`` a list,
and ``/tmp/données`` no word at all. Here the options whose value is any text (:data:`TEXT`) are
known, and such a value is put into the quotes that Hydra wants where it would read anything else.
"""

import argparse
import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse

from distlab.errors import DistlabError
from distlab.experiment.config_tree import CONF, names
from distlab.experiment.options import Options, flat
from distlab.models import shipped

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")
"""Options of Hydra's own that name a folder."""
AT_HOME = (*FOLDERS, "tracking.uri")
"""Options in which ``~`` is the user's home. Where data are loaded, it is so anyway."""

ENVIRONMENT = "framework.env"
MAPPINGS = (ENVIRONMENT, "framework.runtime_env", "framework.execution_by_model")
"""Options that hold names and values; those of the environment are text."""

_GRAMMAR = OverridesParser.create()
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
# What Hydra's grammar escapes: who has written \, or \= means it so.
_ESCAPED = re.compile(r"\\[()\[\]{}:=, ]")
_OPTION = re.compile(r"\s*\+{0,2}[\w$][^\s=]*\s*=|~[^\s=]+")
_FUNCTION = re.compile(r"(?:choice|glob|shuffle|sort|tag|str)\(.*\)", re.DOTALL)
# A comma that separates values, and what holds commas of its own.
_PART = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\$\{[^}]*\}|\\.|[^,]""", re.DOTALL)
_typed: list[str] = []
_files: dict[str, str] = {}


def _text_options(kind: Any = Options, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Each option whose value is text, and whether it may be null."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from _text_options(hint, f"{prefix}{name}.")
        elif str in (hint, *get_args(hint)) and get_origin(hint) is not dict:
            yield f"{prefix}{name}", type(None) in get_args(hint)


GROUPS = sorted({folder.name for folder in CONF.iterdir() if any(folder.glob("*.yaml"))})
"""Options whose value is the name of a file of the config tree, or of an installed backend."""
TEXT = {
    **dict(_text_options()),
    **dict.fromkeys(GROUPS, False),
    **dict.fromkeys(FOLDERS, False),
    "hydra.job.name": False,
}
"""The options whose value is any text, and whether ``null`` stands for none."""


def take() -> None:
    """Have Hydra find the command line in its own grammar; :func:`command` knows it as typed.

    Raises
    ------
    DistlabError
        If a word is no option, with the command that may have been meant.
    """
    _typed[:] = sys.argv[1:]
    sys.argv[1:] = understood(_typed)


def typed() -> list[str]:
    """The words of this command as they were typed."""
    return list(_typed or sys.argv[1:])


def command(words: Sequence[str] | None = None) -> str:
    """A command to paste into a shell: this one, or one of other words."""
    return shlex.join(["python", "-m", "distlab.launch", *(typed() if words is None else words)])


def at_home(value: str) -> str:
    """A path or an SQLite file's address, with the user's home for a ``~`` where it begins."""
    scheme = "sqlite:///" * value.startswith("sqlite:///")
    return f"{scheme}{os.path.expanduser(value.removeprefix(scheme))}"  # noqa: PTH111


def understood(words: Sequence[str]) -> list[str]:
    r"""The words of a command in Hydra's grammar, its flags first.

    Text stays text: quotes are added where Hydra would read anything else. ``null``, ``${...}``,
    Hydra's own quotes and its escapes (``\,``) mean what they mean to Hydra. In a multirun, commas
    separate values; in a run by itself, a comma is text.

    Raises
    ------
    DistlabError
        If a word is no option, with the command that may have been meant.
    """
    parser = get_args_parser()
    parser.error = _no_flags  # type: ignore[method-assign]
    try:
        flags, unknown = parser.parse_known_intermixed_args(list(words))
    except argparse.ArgumentError as error:
        fix = command(["--help"])
        raise DistlabError(command(words), str(error.message or error), fix) from None
    options = list(flags.overrides)
    if flags.shell_completion:
        return list(words)
    strange = {word for word in (*options, *unknown) if not _OPTION.match(word)}
    if strange:
        raise _unknown(words, [word for word in words if word in strange])
    many = flags.multirun or any(word.lower() == "hydra.mode=multirun" for word in options)
    kept = list(words)
    for word in options:
        kept.remove(word)
    return [*kept, *(_option(word, many) for word in options)]


def overrides(job: Any) -> list[str]:
    """The options of one of Hydra's jobs, as words; an interpolation in them stays what it is."""
    words = OmegaConf.to_container(job.overrides.task, resolve=False) or []
    return [_files.get(str(word), str(word)) for word in words]


def _option(word: str, many: bool) -> str:
    """One option in Hydra's grammar."""
    given, equals, value = word.partition("=")
    given = given.strip()
    name = given.lstrip("+")
    if not equals or name.startswith("~"):
        return word
    if name == "model":
        parts = _split(value) if many else [value.strip()]
        return f"{given}={','.join(_model(part) for part in parts)}"
    if name in TEXT:
        return f"{given}={_values(value, many, null=TEXT[name], home=name in AT_HOME)}"
    if name.startswith(f"{ENVIRONMENT}."):
        return f"++{name}={_values(value, many)}"
    if name == ENVIRONMENT:
        return _mappings(f"++{name}", value, many, yaml.BaseLoader) or word
    if name in MAPPINGS:
        as_yaml = None if _reads(word) else _mappings(f"++{name}", value, many, yaml.SafeLoader)
        return as_yaml or f"++{name}={value}"
    if name.startswith(tuple(f"{mapping}." for mapping in MAPPINGS)):
        return f"++{name}={value if _reads(word) else _quotes(value)}"
    return f"{given}={value.strip()}"


def _model(choice: str) -> str:
    """A choice of ``conf/model/``, or a file anywhere, which becomes one.

    Hydra finds it by its name and a digest of its place; :func:`overrides` tells it as typed.

    Raises
    ------
    DistlabError
        If the file is not there or is none of a model.
    """
    if "/" not in choice and not choice.endswith((".yaml", ".yml")):
        # A name that Hydra would read as a number is a name.
        return _text(choice, False, False) if re.fullmatch(r"[\w.+-]+", choice) else choice
    path = Path(at_home(choice.strip("'\""))).absolute()
    node = shipped.read(path, f"model={choice}")
    place = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII) + f"_{place}"
    ConfigStore.instance().store(group="model", name=name, node=node)
    _files[f"model={name}"] = f"model={choice}"
    return name


def _values(value: str, many: bool, null: bool = False, home: bool = False) -> str:
    """The text, or in a multirun each of the texts, of an option."""
    if many and _FUNCTION.fullmatch(value):
        return value
    parts = _split(value) if many else [value]
    return ",".join(_text(part, null, home) for part in parts)


def _split(value: str) -> list[str]:
    """At commas, but not at those in quotes, in ``${...}`` or behind a backslash."""
    parts, end = [""], 0
    while end < len(value):
        piece = _PART.match(value, end)
        if piece is None:
            parts.append("")
            end += 1
        else:
            parts[-1] += piece[0]
            end = piece.end()
    return [part.strip() for part in parts]


def _text(value: str, null: bool, home: bool) -> str:
    """One text: as it stands where Hydra reads just that, else in quotes."""
    if null and value.lower() in ("", "null"):
        return "null"
    if home:
        value = at_home(value)
    if _QUOTED.fullmatch(value) or (_ESCAPED.search(value) and _reads(f"x={value}")):
        return value
    return value if _reads(f"x={value}", value) else _quotes(value)


def _quotes(value: str) -> str:
    """Text in Hydra's quotes; ``${`` that begins no interpolation is itself."""
    if "${" in value:
        try:
            parse(value)
        except GrammarParseError:
            value = value.replace("${", "\\${")
    return QuotedString(value, Quote.single).with_quotes()


def _reads(word: str, as_text: str | None = None) -> bool:
    """Whether Hydra's grammar takes an option; with ``as_text``, as just this."""
    try:
        value = _GRAMMAR.parse_override(word).value()
    except HydraException:
        return False
    return as_text is None or (isinstance(value, str) and value == as_text and value != "")


def _mappings(name: str, value: str, many: bool, loader: Any) -> str | None:
    """``{A: 1}``, read as the YAML that it looks like; in a multirun, several. None if it isn't."""
    spaced = re.sub(r"([{,]\s*[\w.-]+):(?=[^\s,}/])", r"\1: ", value)
    try:
        found = yaml.load(f"[{spaced}]", loader)
        assert found and all(isinstance(one, dict) for one in found)
        assert many or len(found) == 1
        return f"{name}={','.join(map(_rendered, found))}"
    except (yaml.YAMLError, AssertionError):
        return None


def _rendered(value: Any) -> str:
    """Names, lists and values in Hydra's grammar, text in quotes."""
    if isinstance(value, dict):
        keys = [str(key) for key in value]
        assert all(re.fullmatch(r"[\w.-]+", key) for key in keys)
        inner = zip(keys, map(_rendered, value.values()), strict=True)
        return "{" + ",".join(f"{key}:{one}" for key, one in inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_rendered, value)) + "]"
    if isinstance(value, str):
        return _quotes(value)
    return "null" if value is None else str(value)


def _no_flags(message: str) -> NoReturn:
    raise argparse.ArgumentError(None, message)


def _unknown(words: Sequence[str], strange: Sequence[str]) -> DistlabError:
    """Words that are neither options nor flags: ``--gpus 2``, ``gpus = 2``, ``torch``."""
    found = (
        f"{' '.join(map(shlex.quote, strange))}: an option is written name=value, without dashes"
    )
    meant = _mended(words)
    help_ = command(["--help"])
    mended = not any(word in strange or word.startswith("=") for word in meant)
    return DistlabError(command(words), found, f"{command(meant)}\n{help_}" if mended else help_)


def _mended(words: Sequence[str]) -> list[str]:
    """What may have been meant: ``--gpus 2``, ``gpus = 2``, ``torch`` with an equals sign."""
    choices = {name.split("/")[1]: name.replace("/", "=") for name in names() if "/" in name}
    options = {*flat(Options()), *(choice.split("=")[0] for choice in choices.values())}
    meant: list[str] = []
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_") if word.startswith("-") else name
        last = meant[-1] if meant else ""
        begun = last in options and word.startswith("=")
        if begun or (last.endswith("=") and not equals):
            meant[-1] += word
        elif name in options:
            meant.append(f"{name}{equals}{value}")
        elif last in options:
            meant[-1] += f"={word}"
        else:
            meant.append(choices.get(word, word))
    return meant
