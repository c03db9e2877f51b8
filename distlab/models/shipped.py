"""Files of models: those of ``conf/model/``, which come with distlab, and anybody's own."""

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from distlab.errors import DistlabError
from distlab.models.grammar import build
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec

_PACKAGED = Path(__file__).parents[1] / "conf"
FOLDER = (_PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf") / "model"
"""Where their files are: inside the installed package, or at the top of the repository."""

NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))
"""What they are called."""


KEYS = ("name", "target_accuracy", "layers", "hidden")
"""What a model's file may hold; only ``layers`` must be there."""


def read(path: Path, asked: str) -> dict[str, Any]:
    """What stands in a model's file, with defaults: its own name, and a target of 1.

    Raises
    ------
    DistlabError
        If it can't be read or isn't such a file; ``asked`` is how the user named it.
    """
    import yaml

    example = "for example\nname: small\ntarget_accuracy: 0.9\nlayers:\n- flatten\n- dense: classes"
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        fix = f"model={NAMES[0]}, one of {', '.join(NAMES)}, or the path of a YAML file"
        raise DistlabError(asked, f"{path}: {error.strerror}", fix) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise DistlabError(asked, f"{path} is no YAML: {why}", example) from None
    if not isinstance(found, dict) or "layers" not in found:
        raise DistlabError(asked, f"{path} holds no layers", example)
    strange = [str(key) for key in found if key not in KEYS]
    if strange:
        close = difflib.get_close_matches(strange[0], KEYS, 1)
        raise DistlabError(
            asked,
            f"{path} holds {', '.join(strange)}; a model's file holds {', '.join(KEYS)}",
            f"{close[0]}: ..." if close else f"leave {strange[0]} out",
        )
    return {"name": path.stem, "target_accuracy": 1.0, **found}


@lru_cache
def file(name: str) -> dict[str, Any]:
    """What stands in a shipped model's file."""
    return read(FOLDER / f"{name}.yaml", f"model={name}")


@lru_cache
def model(name: str, input_shape: Shape = (1, 28, 28), classes: int = 10) -> ModelSpec:
    """A shipped model for images of a shape; DistlabError if it needs larger ones."""
    values = file(name)
    return build(name, values["layers"], input_shape, classes, values.get("hidden", ()))


class _Fitting(Mapping[str, ModelSpec]):
    """Those that fit MNIST's images, by name."""

    def __getitem__(self, name: str) -> ModelSpec:
        if name not in NAMES:
            raise KeyError(name)
        return model(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in NAMES if _fits(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _fits(name: str) -> bool:
    try:
        model(name)
    except DistlabError:
        return False
    return True


MODELS: Mapping[str, ModelSpec] = _Fitting()
"""The shipped models that fit images of 1 x 28 x 28, for ten classes."""
