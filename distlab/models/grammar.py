"""Models as they are written in config: a list of words becomes a spec, or one clear error."""

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from distlab.errors import DistlabError
from distlab.models.layers import (
    BatchNorm,
    Conv2D,
    Layer,
    MisfitError,
    Residual,
    Shape,
    Shrink,
)
from distlab.models.layers.base import IMAGE, VECTOR, told
from distlab.models.layers.residual import through
from distlab.models.spec import ModelSpec
from distlab.models.words import REFUSED, REQUIRED, WORDS, Sizes

SHORTCUTS = ("identity", "projection", "pad")
"""What may stand for ``shortcut`` in a residual block."""


def build(
    name: str,
    layers: Any,
    input_shape: Shape = (1, 28, 28),
    classes: int = 10,
    hidden: Sequence[int] = (),
) -> ModelSpec:
    """Read a model that is written in words.

    Parameters
    ----------
    name:
        What it is called.
    layers:
        The list of words, as YAML gives it.
    input_shape:
        Channels, height and width of the data's images.
    classes:
        How many there are in the data; ``classes`` may stand for it as a size.
    hidden:
        Sizes of the hidden layers for which the word ``hidden`` stands.

    Raises
    ------
    DistlabError
        If a layer is unknown or does not fit, naming it, its input and what would fit.
    """
    reader = _Reader(name, classes, tuple(hidden))
    if hidden and "hidden" not in (layers if isinstance(layers, list) else ()):
        raise DistlabError(
            f"model {name}: hidden={_written(list(hidden))}",
            "none of its layers is hidden, the word that stands for these sizes",
            "model=mlp has it\nor change layers, not hidden",
        )
    if not isinstance(layers, list) or not layers:
        raise DistlabError(
            f"model {name}: layers={_written(layers)}",
            "a model is a list of layers",
            "for example\nlayers:\n- flatten\n- dense: classes",
        )
    built, shape = reader.read(layers, input_shape, "")
    if len(shape) != VECTOR:
        pooled = "- global_avg_pool\n" if len(shape) == IMAGE else "- flatten\n"
        raise DistlabError(
            f"model {name}: {_written(layers[-1])} as its last layer",
            f"it gives {told(shape)}, and a model ends in one number for each class",
            f"let it end in\n{pooled}- dense: classes",
        )
    if shape != (classes,):
        raise DistlabError(
            f"model {name}: {_written(layers[-1])} as its last layer",
            f"it gives {shape[0]} numbers, and the data have {classes} classes",
            "- dense: classes",
        )
    try:
        return ModelSpec(name, tuple(built), tuple(input_shape))
    except ValueError as error:
        raise DistlabError(f"model {name}", str(error), "- dense: classes") from None


class _Reader:
    """Reads lists of words; layers are numbered through the whole model."""

    def __init__(self, name: str, classes: int, hidden: tuple[int, ...]) -> None:
        self._name, self._classes, self._hidden = name, classes, hidden
        self._count: Counter[str] = Counter()

    def read(self, items: Sequence[Any], shape: Shape, owner: str) -> tuple[list[Layer], Shape]:
        """The layers of a list, and the shape behind the last."""
        built: list[Layer] = []
        for number, item in enumerate(items, 1):
            place = f"{owner}layer {number} ({_written(item)})"
            for layer in self._layers(item, shape, place):
                try:
                    layer.check()
                    shape = layer.output_shape(shape)
                except MisfitError as error:
                    raise self._misfit(place, str(error), error.fits, shape) from None
                except ValueError as error:
                    raise self._misfit(place, str(error), _example(item), shape) from None
                built.append(layer)
        return built, shape

    def _layers(self, item: Any, shape: Shape, place: str) -> list[Layer]:
        """What one item means: a layer, or all those of ``hidden``."""
        word, given = self._split(item, shape, place)
        if word == "hidden":
            if not self._hidden or min(self._hidden) < 1:
                found = f"it stands for the sizes in hidden: {_written(list(self._hidden))}"
                raise self._misfit(place, found, "hidden: [100, 100]", shape)
            items: list[Any] = []
            for size in self._hidden:
                items += [{"dense": size}, "relu"]
            return self.read(items, shape, f"{place}, its ")[0]
        if word == "residual":
            return [self._residual(given, shape, place)]
        sizes = self._sizes(word, given, shape, place)
        self._count[word] += 1
        try:
            return [WORDS[word].make(f"{word}{self._count[word]}", shape, sizes)]
        except MisfitError as error:
            raise self._misfit(place, str(error), error.fits, shape) from None

    def _split(self, item: Any, shape: Shape, place: str) -> tuple[str, Any]:
        """A word and what is given with it."""
        if isinstance(item, dict) and len(item) == 1:
            word, given = next(iter(item.items()))
        else:
            word, given = item, None
        known = [*WORDS, "residual", "hidden"]
        if isinstance(item, dict) and len(item) != 1:
            found = f"a layer is one word, with its sizes behind it, and this has {len(item)}"
            raise self._misfit(place, found, _parted(item, known), shape)
        if isinstance(word, str) and word in REFUSED:
            raise self._misfit(place, REFUSED[word], f"leave {word} out", shape)
        if not isinstance(word, str) or word not in known:
            near = difflib.get_close_matches(str(word).lower(), known, 1)
            parts = str(word).split()
            if given is None and len(parts) == 2 and parts[0] in known:  # the colon is missing
                near, given = parts[:1], parts[1]
            meant = {near[0]: given} if near and given is not None else near[0] if near else None
            fits = f"- {_written(meant)}" if near else f"one of {', '.join(known)}"
            found = "a layer is a word, or a word with its sizes, and this is neither"
            if isinstance(word, str):
                found = f"there is no such layer; there are {', '.join(known)}"
            raise self._misfit(place, found, fits, shape)
        return word, given

    def _sizes(self, word: str, given: Any, shape: Shape, place: str) -> Sizes:
        """All sizes of a word: those that are given, and defaults."""
        known = WORDS[word].sizes
        if given is None:
            given = {}
        elif not isinstance(given, dict):
            if not known or isinstance(given, list):
                found = f"{word} takes {', '.join(known) if known else 'no size'}"
                raise self._misfit(place, found, f"- {_shown(word)}", shape)
            given = {next(iter(known)): given}
        for size, value in given.items():
            if size not in known:
                near = difflib.get_close_matches(str(size), known, 1)
                takes = f"{word} takes {', '.join(known)}" if known else f"{word} takes no size"
                fits = f"{near[0]}: {value}" if near else f"- {_shown(word)}"
                raise self._misfit(place, f"it has no {size}: {takes}", fits, shape)
        sizes = {**known, **given}
        missing = [size for size, value in sizes.items() if value is REQUIRED]
        if missing:
            found = f"{word} needs {' and '.join(missing)}"
            raise self._misfit(place, found, f"- {_shown(word)}", shape)
        return {
            size: self._value(size, value, known[size], word, shape, place)
            for size, value in sizes.items()
        }

    def _value(
        self, size: str, value: Any, default: Any, word: str, shape: Shape, place: str
    ) -> Any:
        """One size, of the type that it must have."""
        if value == "classes" and word == "dense":
            return self._classes
        if isinstance(default, bool):
            fits, sort = isinstance(value, bool), "true or false"
        elif isinstance(default, float):
            fits, sort = isinstance(value, int | float) and not isinstance(value, bool), "a number"
            value = float(value) if fits else value
        else:
            fits = isinstance(value, int) and not isinstance(value, bool)
            fits, sort = fits or (value is None and default is None), "a whole number"
        if not fits:
            found = f"{size} is {_written(value)}, and must be {sort}"
            raise self._misfit(place, found, f"- {_shown(word)}", shape)
        least = 0 if size == "padding" else 1
        if sort == "a whole number" and value is not None and value < least:
            found = f"{size} is {value}, and must be at least {least}"
            raise self._misfit(place, found, f"- {_shown(word)}", shape)
        return value

    def _residual(self, given: Any, shape: Shape, place: str) -> Residual:
        """A residual block: its layers, and a shortcut that fits them."""
        example = "- residual: [{conv: {channels: 16, kernel: 3, padding: 1}}, batch_norm, relu]"
        known = ("layers", "shortcut")
        if isinstance(given, dict) and set(given) <= set(known):
            items, shortcut = given.get("layers"), given.get("shortcut")
        else:
            items, shortcut = given, None
        if not isinstance(items, list) or not items:
            found = "a residual block is a list of layers, or has layers and a shortcut"
            raise self._misfit(place, found, example, shape)
        if shortcut not in (None, *SHORTCUTS):
            found = f"its shortcut is {_written(shortcut)}, and may be {', '.join(SHORTCUTS)}"
            raise self._misfit(place, found, "shortcut: projection", shape)
        body, output = self.read(items, shape, f"{place.split(' (')[0]} (residual), its ")
        if shortcut is None:
            shortcut = "identity" if output == shape else "projection"
        if shortcut == "identity":
            if output == shape:
                return Residual(tuple(body))
            found = f"its layers make {told(output)}, and the shortcut leaves its input as it is"
            raise self._misfit(place, found, "shortcut: projection", shape)
        stride = _stride(shape, output)
        if stride is None:
            found = f"its layers make {told(output)}, to which no shortcut leads"
            fits = "let its layers keep the shape: padding: 1 with kernel: 3"
            raise self._misfit(place, found, fits, shape)
        if shortcut == "pad":
            return Residual(tuple(body), (Shrink(shape[0], output[0], stride),))
        return Residual(tuple(body), self._projection(body, shape[0], output[0], stride))

    def _projection(
        self, body: Sequence[Layer], inputs: int, outputs: int, stride: int
    ) -> tuple[Layer, ...]:
        """A 1x1 convolution; with a batch normalization, as the body's are, where it has any."""
        norms = [layer for layer in body if isinstance(layer, BatchNorm)]
        self._count["conv"] += 1
        name = f"conv{self._count['conv']}"
        conv = Conv2D(name, inputs, outputs, kernel=1, stride=stride, bias=not norms)
        if not norms:
            return (conv,)
        self._count["batch_norm"] += 1
        name = f"batch_norm{self._count['batch_norm']}"
        return (conv, BatchNorm(name, outputs, norms[-1].momentum, norms[-1].epsilon))

    def _misfit(self, place: str, found: str, fits: str, shape: Shape) -> DistlabError:
        given = "" if told(shape) in found else f"\nits input is {told(shape)}"
        return DistlabError(f"model {self._name}, {place}", f"{found}{given}", fits)


def _parted(item: dict[Any, Any], known: Sequence[str]) -> str:
    """What an item of several words, or of none, may have meant."""
    words = [word for word in item if word in known]
    if len(words) == 1 and item[words[0]] is None:  # sizes that are not further in than their word
        sizes = {size: value for size, value in item.items() if size != words[0]}
        return f"- {_written({words[0]: sizes})}"
    lines = [
        f"- {word if given is None else _written({word: given})}" for word, given in item.items()
    ]
    return "\n".join(lines) or "- flatten"


def _stride(shape: Shape, output: Shape) -> int | None:
    """The stride by which a 1x1 convolution makes one image's height and width the other's."""
    if len(shape) != IMAGE or len(output) != IMAGE:
        return None
    for stride in range(1, max(shape[1:]) + 1):
        if through([Conv2D("", shape[0], output[0], 1, stride=stride)], shape) == output:
            return stride
    return None


def _shown(word: str) -> str:
    """A word with the sizes that it needs."""
    if word == "residual":
        return "residual: [{conv: {channels: 16, kernel: 3, padding: 1}}, batch_norm, relu]"
    return WORDS[word].example or word if word in WORDS else word


def _example(item: Any) -> str:
    word = next(iter(item)) if isinstance(item, dict) else str(item)
    return f"- {_shown(word)}"


def _written(item: Any, longest: int = 60) -> str:
    """An item as it stands in a model's file, on one line."""
    if isinstance(item, dict):
        text = ", ".join(f"{name}: {_written(value, 1000)}" for name, value in item.items())
        text = text if len(item) == 1 and longest == 60 else f"{{{text}}}"
    elif isinstance(item, list):
        text = f"[{', '.join(_written(one, 1000) for one in item)}]"
    else:
        text = item if isinstance(item, str) else json.dumps(item, default=str)
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
