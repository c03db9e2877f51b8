"""What may be asked of data: the options, which of them a data set takes, and what they tell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

from distlab.data import arrays, synthetic
from distlab.data.dataset import Form
from distlab.data.formats.bounded import LARGEST_ARRAY, OTHER_DATA
from distlab.data.published import embedded
from distlab.data.published.catalogue import DIGITS, PUBLISHED, SPLITS
from distlab.errors import DistlabError


@dataclass
class DataOptions:
    """One file of ``conf/data/``.

    Attributes
    ----------
    name:
        Which data: one of :data:`NAMES`.
    dir, file:
        Where their files are.
    split:
        Of ``emnist``: which.
    layout:
        Of files: how images of several channels lie, if their shape does not tell it.
    shape, classes:
        Of ``synthetic``: what to make. Of files: what they must hold; None is whatever they hold.
    samples, test_samples:
        Of ``synthetic``: how many to make. Else: the first so many alone; None is all.
    """

    name: str = MISSING
    dir: str | None = None
    file: str | None = None
    split: str | None = None
    layout: str | None = None
    shape: list[int] | None = None
    classes: int | None = None
    samples: int | None = None
    test_samples: int | None = None


FEW = ("samples", "test_samples")
"""Options that all data sets take."""

TAKES: Mapping[str, tuple[str, ...]] = {
    embedded.NAME: (),
    **{name: ("dir", "split") if name == "emnist" else ("dir",) for name in PUBLISHED},
    "idx": ("dir", "layout", "shape", "classes"),
    "npz": ("file", "layout", "shape", "classes"),
    synthetic.NAME: ("shape", "classes"),
}
"""Which further options a data set takes."""

NEEDS = {
    "emnist": ("split",),
    "idx": ("dir",),
    "npz": ("file",),
    synthetic.NAME: ("shape", "classes", *FEW),
}
"""Which it cannot do without."""

NAMES = ("mnist", "mnist5k", *(name for name in TAKES if name not in ("mnist", "mnist5k")))
"""The data sets that there are."""

BY_CONTENT = ("mnist", "mnist5k", "fashion_mnist")
"""Data sets of which the canonical content is known: :data:`distlab.data.dataset.KNOWN`."""

EXAMPLES = {
    "dir": "/path/to/files",
    "file": "/path/to/arrays.npz",
    "split": "balanced",
    "layout": "nhwc",
    "shape": "[3,32,32]",
    "classes": "10",
    "samples": "2000",
    "test_samples": "500",
}


def check(options: DataOptions) -> None:
    """Refuse options that no data set could fulfil, before anything is read.

    Raises
    ------
    DistlabError
        Naming the option, its value and what is possible.
    """
    name, has = options.name, given(options)
    if name not in NAMES:
        raise DistlabError(
            asked=f"data.name={name}",
            found=f"the data sets are {', '.join(NAMES)}",
            fix=f"for example data={NAMES[0]}\n{OTHER_DATA}",
        )
    for option, value in has.items():
        if option not in (*TAKES[name], *FEW):
            takes = ", ".join(f"data.{one}" for one in (*TAKES[name], *FEW))
            raise DistlabError(
                asked=f"data={name} data.{option}={_written(value)}",
                found=_why_not(name, option) or f"data={name} takes {takes}",
                fix=_instead(name, option, value),
            )
    for option in NEEDS.get(name, ()):
        if option not in has:
            raise DistlabError(
                asked=f"data={name}",
                found=f"it needs data.{option}",
                fix=f"data={name} data.{option}={EXAMPLES[option]}",
            )
    shape = options.shape
    rules = (
        (
            "split",
            options.split in (None, *SPLITS),
            f"EMNIST's splits are {', '.join(SPLITS)}",
        ),
        (
            "layout",
            options.layout in (None, *arrays.LAYOUTS),
            f"channels come first (nchw) or last ({arrays.LAYOUTS[1]})",
        ),
        (
            "shape",
            shape is None or (len(shape) == 3 and min(shape) >= 1),
            "a shape is channels, height and width, each from 1",
        ),
        (
            "classes",
            options.classes is None or 2 <= options.classes <= arrays.MOST_CLASSES,
            f"there are 2 to {arrays.MOST_CLASSES:,} classes",
        ),
        *(
            (one, has.get(one, 1) >= 1, "samples count from 1, and null is all that there are")
            for one in FEW
        ),
    )
    for option, holds, rule in rules:
        if not holds:
            raise DistlabError(
                asked=f"data.{option}={_written(has[option])}",
                found=rule,
                fix=f"for example data.{option}={EXAMPLES[option]}",
            )
    if name == synthetic.NAME and shape is not None:
        for option in FEW:
            if not synthetic.fits(tuple(shape), has[option]):
                most = LARGEST_ARRAY // math.prod(shape)
                raise DistlabError(
                    asked=f"data.{option}={has[option]} data.shape={_written(shape)}",
                    found=f"that is more than the {LARGEST_ARRAY:,} bytes that data may have",
                    fix=f"data.{option}={most}" if most else "a smaller data.shape",
                )


def form(options: DataOptions) -> Form | None:
    """The shape of an image and the number of classes, if options alone tell them."""
    if options.name == "emnist":
        return Form(DIGITS.shape, SPLITS[options.split or "balanced"])
    if options.name in PUBLISHED:
        return PUBLISHED[options.name].form
    if options.name == embedded.NAME:
        return DIGITS
    if options.shape is None or options.classes is None:
        return None
    return Form(tuple(options.shape), options.classes)


def told(options: DataOptions, found: Form) -> DataOptions:
    """The options with what files turned out to hold, where they leave that open."""
    if form(options) is not None:
        return options
    return replace(options, shape=list(found.shape), classes=found.classes)


def given(options: DataOptions) -> dict[str, Any]:
    """The options that have a value, but for the name."""
    return {
        name: value for name, value in vars(options).items() if name != "name" and value is not None
    }


def _why_not(name: str, option: str) -> str:
    """A reason of its own, where there is one."""
    if name == embedded.NAME and option == "dir":
        return "mnist5k is embedded and is not read from a folder"
    if option in ("shape", "classes"):
        return f"what an image of {name} is, its files say"
    return ""


def _instead(name: str, option: str, value: Any) -> str:
    """Commands that take such an option, or do without."""
    other = {"dir": "mnist", "file": "npz", "split": "emnist", "layout": "npz"}.get(
        option, synthetic.NAME
    )
    return f"data={other} data.{option}={_written(value)}\ndata={name} data.{option}=null"


def _written(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)
