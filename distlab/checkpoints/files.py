"""A folder of checkpoints, on this machine, on NFS, or in any store that fsspec knows.

A file appears whole or not at all: on a file system it is written beside its place and renamed; an
object store takes a file in one piece. What is damaged none the less is told by its SHA-256
(:mod:`distlab.checkpoints.archive`), and the one before it is taken.

=====================  ==========================================================
``state-000003.npz``   the state when three epochs are done; the newest few are kept
``epoch-000002.npz``   what ranks told of the third epoch; all are kept
``run.json``           what the run was asked for
=====================  ==========================================================
"""

import contextlib
import json
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from distlab import files
from distlab.backends.base import MOMENTS
from distlab.checkpoints.archive import DamagedError
from distlab.checkpoints.state import State
from distlab.errors import DistlabError
from distlab.masking import mask
from distlab.models.spec import ModelSpec

STATE, EPOCH = "state", "epoch"
RUN, RUN_BYTES = "run.json", 1 << 20
NAME = re.compile(rf"({STATE}|{EPOCH})-(\d+)\.npz")


def check(address: str) -> None:
    """See that an address is of a kind that is installed here; nothing is asked for over a network.

    Raises
    ------
    DistlabError
        If it is not, naming the package to install.
    """
    kind = fsspec.utils.get_protocol(address)
    try:
        fsspec.get_filesystem_class(kind)
    except (ImportError, ValueError) as error:
        package = known_implementations.get(kind, {}).get("class", "").split(".")[0]
        install = {"": "", "fsspec": "install what it names"}.get(package, f"pip install {package}")
        raise DistlabError(
            f"checkpoint.dir={mask(address)}",
            f"fsspec cannot open it: {error}",
            f"{install}\nor a folder of this machine: checkpoint.dir=PATH".removeprefix("\nor "),
        ) from error


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    address:
        A folder, or where fsspec finds one: ``s3://bucket/folder``, ``file:///mnt/shared``.
    keep:
        How many states are kept, the newest.
    say:
        What tells of a file that is damaged.

    Raises
    ------
    DistlabError
        If the address is of no kind that is installed here.
    """

    def __init__(self, address: str, keep: int, say: Callable[[str], None]) -> None:
        self.address, self._keep, self._say = address, keep, say
        check(address)
        self._store, self._folder = fsspec.core.url_to_fs(address)

    def save(self, kind: str, number: int, data: bytes) -> None:
        """Write a file; of states, those that are too old go.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._put(f"{kind}-{number:06d}.npz", data)
        if kind == STATE:
            for old in self.numbers(STATE)[: -self._keep]:
                self._store.rm_file(self._path(f"{STATE}-{old:06d}.npz"))

    def note(self, about: Mapping[str, Any]) -> None:
        """Write what the run was asked for.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self._put(RUN, json.dumps(about, indent=2).encode())

    def noted(self) -> dict[str, Any]:
        """What :meth:`note` was given.

        Raises
        ------
        OSError
            If it is not there or cannot be read.
        DamagedError
            If it is no such thing.
        """
        try:
            with _as_os_error():
                # Not a range: some object stores refuse one that is longer than the file.
                size = self._store.size(self._path(RUN))
                text = self._store.cat_file(self._path(RUN)) if size <= RUN_BYTES else b""
            about = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{RUN}: {error}") from error
        if not isinstance(about, dict):
            raise DamagedError(f"{RUN} says nothing")
        return about

    def numbers(self, kind: str) -> list[int]:
        """The numbers of the files of a kind, the least first.

        Raises
        ------
        OSError
            If the store cannot be asked.
        """
        try:
            with _as_os_error():
                found = self._store.ls(self._folder, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (NAME.fullmatch(posixpath.basename(path)) for path in found)
        return sorted(int(name[2]) for name in names if name and name[1] == kind)

    def load(self, kind: str, number: int) -> bytes:
        """The bytes of a file.

        Raises
        ------
        OSError
            If it is not there or cannot be read.
        """
        with _as_os_error():
            return bytes(self._store.cat_file(self._path(f"{kind}-{number:06d}.npz")))

    def states(
        self, spec: ModelSpec, moments: Collection[str] = MOMENTS
    ) -> Iterator[tuple[State, bytes]]:
        """The states that are whole, the newest first, each with its bytes; tells of others.

        Parameters
        ----------
        spec, moments:
            The model, and which moments its optimizer has: see :meth:`State.decoded`.
        """
        for number in reversed(self.numbers(STATE)):
            try:
                data = self.load(STATE, number)
                state = State.decoded(data, spec, moments)
                if state.epoch != number:
                    raise DamagedError(f"it is of epoch {state.epoch}")
            except (OSError, DamagedError) as error:
                name = self._path(f"{STATE}-{number:06d}.npz")
                self._say(f"checkpoint {name} cannot be used: {error}; the one before it is taken")
            else:
                yield state, data

    def remove(self) -> None:
        """Delete all of them, and their folder if nothing else is in it."""
        for kind in (STATE, EPOCH):
            for number in self.numbers(kind):
                self._store.rm_file(self._path(f"{kind}-{number:06d}.npz"))
        with contextlib.suppress(FileNotFoundError):
            self._store.rm_file(self._path(RUN))
        if isinstance(self._store, LocalFileSystem):
            with contextlib.suppress(OSError):  # it is not there, or not empty
                Path(self._folder).rmdir()

    def _path(self, name: str) -> str:
        return f"{self._folder.rstrip('/')}/{name}"

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        if not isinstance(self._store, LocalFileSystem):
            self._store.makedirs(self._folder, exist_ok=True)
            self._store.pipe_file(path, data)
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        files.write(Path(path), data)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Errors of a store's client, which raises what it likes, become those of files."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
