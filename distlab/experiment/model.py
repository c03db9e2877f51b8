"""The model that options describe: its layers, its name, and what stands for it in hashes."""

import hashlib
import json

from distlab.data import asked
from distlab.data.published.catalogue import DIGITS
from distlab.errors import DistlabError
from distlab.experiment.options import ModelOptions, Options
from distlab.models import grammar, shipped
from distlab.models.layers import Shape
from distlab.models.spec import ModelSpec


def spec(
    options: ModelOptions, input_shape: Shape = DIGITS.shape, classes: int = DIGITS.classes
) -> ModelSpec:
    """The model that options describe, for data of a shape.

    Raises
    ------
    DistlabError
        If it isn't one, or doesn't fit the data, naming the layer.
    """
    layers, hidden = options.layers, options.hidden
    if layers is None:
        if options.name not in shipped.NAMES:
            raise DistlabError(
                f"model.name={options.name}",
                f"the models are {', '.join(shipped.NAMES)}",
                f"for example model={shipped.NAMES[0]}",
            )
        values = shipped.file(options.name)
        layers, hidden = values["layers"], hidden or values.get("hidden", [])
    if "hidden" not in layers and hidden == shipped.file("mlp")["hidden"]:
        hidden = []  # of model=mlp, whose layers were replaced
    return grammar.build(options.name, layers, tuple(input_shape), classes, hidden)


def digest(options: Options) -> str:
    """What stands for the model's layers in hashes: its digest, if the form of its data is known.

    Else that of its words, as they were written.
    """
    form = asked.form(options.data)
    if form is not None:
        return spec(options.model, *form).digest
    written = json.dumps([options.model.layers, options.model.hidden], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def called(options: ModelOptions, digest: str) -> str:
    """Its name; one that bears a shipped model's name and has other layers gets one of its own."""
    name = options.name
    if name not in shipped.NAMES or options.layers is None:
        return name
    values = shipped.file(name)
    if options.layers != values["layers"]:
        return f"{name}-{digest[:6]}"
    if options.hidden != values.get("hidden", []):
        return "-".join(map(str, (name, *options.hidden)))[:40]
    return name
