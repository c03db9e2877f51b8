"""Arrays from files made a data set: which axis is which, which values, and how many classes."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from distlab.data.dataset import Images

LAYOUTS = ("nchw", "nhwc")
"""How images of several channels may lie: channels first, or last as in Keras."""

CHANNELS = (1, 3, 4)
"""Numbers of channels by which an axis is known as theirs: grey, colours, colours and opacity."""

MOST_CLASSES = 2**16
"""A label is no larger: the last layer has an output for each class."""

Refuse = Callable[[str, str, str], NoReturn]
"""Raises the error for an array that is wrong: what was expected, what was found, what to do."""


def images(values: NDArray[Any], layout: str | None, refuse: Refuse) -> Images:
    """Images ``[n, height, width]`` or ``[n, channels, height, width]``.

    With four axes, the channels are the second or the last one, whichever has a length in
    :data:`CHANNELS`; where both or neither have, ``layout`` must say it.

    Parameters
    ----------
    values:
        uint8, or float32 from 0 to 1.
    layout:
        One of :data:`LAYOUTS`, or None.
    refuse:
        Raises the error.
    """
    if values.dtype not in (np.uint8, np.float32):
        how = "images.astype(numpy.float32), from 0 to 1, or (255 * images).astype(numpy.uint8)"
        refuse("images of uint8 or float32", f"they are {values.dtype}", how)
    if values.ndim not in (3, 4):
        how = "images.reshape(n, height, width), or with channels"
        refuse("images n x height x width, or with channels", _shape(values), how)
    if values.dtype == np.float32:
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            how = "images / 255 if they are from 0 to 255; else (images - low) / (high - low)"
            refuse("float32 from 0 to 1", f"values from {low:g} to {high:g}", how)
    if values.ndim == 4:
        if layout is None:
            first, last = values.shape[1] in CHANNELS, values.shape[3] in CHANNELS
            if first == last:
                found = f"{_shape(values)}, where {'both may' if first else 'neither seems to'} be"
                how = "data.layout=nchw (channels first)\ndata.layout=nhwc (channels last)"
                refuse("channels (1, 3 or 4) as the second axis or as the last", found, how)
            layout = "nhwc" if last else "nchw"
        if layout == "nhwc":
            values = values.transpose(0, 3, 1, 2)
        if values.shape[1] == 1:
            values = values[:, 0]
    return np.ascontiguousarray(values)


def labels(values: NDArray[Any], count: int, refuse: Refuse) -> NDArray[np.int64]:
    """Labels ``[n]`` from 0; a second axis of length one, as Keras has, is dropped.

    Parameters
    ----------
    values:
        Whole numbers.
    count:
        How many images they belong to.
    refuse:
        Raises the error.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        refuse("labels of shape n", _shape(values), "of one-hot labels: labels.argmax(axis=1)")
    if values.dtype.kind not in "iu":
        refuse("whole numbers", f"they are {values.dtype}", "labels.astype(numpy.int64)")
    if len(values) != count:
        found = f"{len(values):,} labels for {count:,} images"
        refuse("one label for each image", found, "the labels of these images")
    if int(values.min()) < 0 or int(values.max()) >= MOST_CLASSES:
        found = f"they go from {values.min()} to {values.max()}"
        how = "numpy.unique(labels, return_inverse=True)[1] counts them from 0"
        refuse(f"labels from 0, below {MOST_CLASSES:,}", found, how)
    return values.astype(np.int64)


def _shape(values: NDArray[Any]) -> str:
    return "shape " + " x ".join(map(str, values.shape))
