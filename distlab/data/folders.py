"""Where in a folder the four files of a data set lie, as people have them."""

import re
from pathlib import Path

from distlab.data.formats.bounded import OTHER_DATA
from distlab.errors import DistlabError

FOLDER_VARIABLE = "DISTLAB_DATA_DIR"
"""Environment variable that names a folder with IDX files for ``mnist``."""


def places(folder: Path, title: str) -> list[Path]:
    """The folders in which files may lie: this one, and where torchvision puts them."""
    return [folder, folder / "raw", folder / title / "raw"]


def find(folder: Path, title: str, stem: str, kind: str) -> Path:
    """One of the four files.

    Named as on MNIST's page, with a dash or a dot, gzipped or plain; in the folder, in
    torchvision's ``raw`` or ``MNIST/raw``, or in a folder of its own name, as Kaggle's archives
    unpack.

    Parameters
    ----------
    folder:
        Where to look.
    title:
        What torchvision calls the data set.
    stem, kind:
        ``train-images`` and ``idx3-ubyte``.

    Raises
    ------
    DistlabError
        If it is in none of these places, or a folder cannot be read.
    """
    names = [f"{stem}{mark}{kind}{suffix}" for mark in "-." for suffix in (".gz", "")]
    try:
        for place in places(folder, title):
            for name in names:
                for path in (place / name, place / name / name):
                    if path.is_file():
                        return path
        missing = f"the folder holds none of {', '.join(names)}"
        found = missing if folder.is_dir() else "there is no such folder"
    except OSError as error:
        found = f"the folder cannot be read ({error.strerror or error})"
    variable = f" or {FOLDER_VARIABLE}=/path/to/idx/files" if title == "MNIST" else ""
    without = f" without {FOLDER_VARIABLE}" if title == "MNIST" else ""
    raise DistlabError(
        asked=f"load {title}'s {stem} from the folder {folder}",
        found=found,
        fix=f"data.dir=/path/to/idx/files{variable}, a folder that "
        f"holds all four\ndata.dir=null{without} (download)\n{OTHER_DATA}",
    )


_NAMED = re.compile(r"(?:.*[-_.])?(train|t10k|test)-(images|labels)[-.]idx[1-4]-\w+(?:\.gz)?")


def any_four(folder: Path) -> dict[str, Path]:
    """Training and test images and labels of any name that ends as MNIST's do.

    Returns
    -------
    dict
        The paths of ``train-images``, ``train-labels``, ``test-images`` and ``test-labels``.

    Raises
    ------
    DistlabError
        If one is missing, or there is more than one for the same.
    """
    wanted = [f"{part}-{sort}" for part in ("train", "test") for sort in ("images", "labels")]
    found: dict[str, Path] = {}
    problem = "there is no such folder"
    try:
        for place in [folder, folder / "raw", *sorted(folder.glob("*/raw"))]:
            found = {}
            problem = ""
            for path in sorted(place.iterdir()) if place.is_dir() else []:
                named = _NAMED.fullmatch(path.name)
                inner = path / path.name if path.is_dir() else path
                if named is None or not inner.is_file():
                    continue
                what = f"{'train' if named[1] == 'train' else 'test'}-{named[2]}"
                first = found.setdefault(what, inner)
                if first.name.removesuffix(".gz") != inner.name.removesuffix(".gz"):
                    problem = f"there are several {what}: {first.name} and {inner.name}"
            if set(found) == set(wanted) and not problem:
                return found
            if found:
                break
        missing = ", ".join(what for what in wanted if what not in found)
        if folder.is_dir():
            problem = problem or f"the folder has no {missing} among its IDX files"
        else:
            problem = "there is no such folder"
    except OSError as error:
        problem = f"the folder cannot be read ({error.strerror or error})"
    raise DistlabError(
        asked=f"load IDX files from the folder {folder}",
        found=problem,
        fix="data.dir=/path/to/files, a folder with train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each perhaps "
        f"with .gz\n{OTHER_DATA}",
    )
