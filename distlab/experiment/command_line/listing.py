"""The options with their values, as ``--help`` shows them: a line for each group."""

import textwrap
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

WIDTH = 100


def listed(config: DictConfig) -> str:
    """The options of a composed config, as they are typed.

    Those of a group stand behind its name (``cluster: mode=local ...`` is ``cluster.mode=local``),
    those of none come first. Interpolations stay what they are.
    """
    options: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    options.pop("hydra", None)
    groups = {name: value for name, value in options.items() if isinstance(value, dict)}
    single = {name: value for name, value in options.items() if name not in groups}
    lines = [_line("", single), *(_line(f"{name}: ", groups[name]) for name in groups)]
    return "\n".join(lines)


def _line(begin: str, options: dict[str, Any]) -> str:
    words = (f"{name}={_typed(value)}" for name, value in options.items())
    return textwrap.fill(
        begin + " ".join(words),
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _typed(value: Any) -> str:
    """A value in a line: lists and mappings in YAML's brackets."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
