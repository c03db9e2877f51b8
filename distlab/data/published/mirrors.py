"""Files from public mirrors, verified and kept in the user's cache folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distlab.data.formats.bounded import OTHER_DATA
from distlab.data.published.catalogue import Published
from distlab.errors import DistlabError

TIMEOUT_S = (5.0, 15.0)
"""Seconds to wait for a mirror: for the connection, and for the next piece of the answer."""

_PIECE = 2**16


def cache_folder(name: str = "mnist") -> Path:
    """Where a data set is kept: ``distlab/NAME`` in the operating system's user cache folder."""
    import pooch

    return Path(pooch.os_cache("distlab")) / name


def fetch(
    wanted: Published, folder: Path, mirrors: tuple[str, ...] | None = None, progress: bool = True
) -> None:
    """Make sure that ``folder`` holds all files with the right checksums.

    What is there and right is kept; without anything missing, the network is not touched. Each
    missing file is written under a temporary name, checked, and renamed, so any number of
    processes may fill one folder at once, and a bad download is never left in it.

    Parameters
    ----------
    wanted:
        The data set: its mirrors, and the SHA-256 of each of its files.
    folder:
        The cache; made if it does not exist.
    mirrors:
        Other mirrors than the data set's. They are tried in turn; the last one that worked goes
        first for the next file.
    progress:
        Whether to show a progress bar on standard error.

    Raises
    ------
    distlab.errors.DistlabError
        If no mirror delivers a file (with each mirror's reason) or the folder cannot be written.
    """
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    candidates = list(mirrors or wanted.mirrors)
    for name, sha256 in wanted.files.items():
        reasons = {}
        for mirror in candidates:
            reason = _retrieve(wanted, f"{mirror.rstrip('/')}/{name}", folder, name, progress)
            if reason is None:
                candidates.remove(mirror)
                candidates.insert(0, mirror)
                break
            reasons[mirror] = reason
        else:
            listed = "".join(f"\n  {mirror}: {reason}" for mirror, reason in reasons.items())
            raise DistlabError(
                asked=f"download {wanted.title}'s {name} into {folder}",
                found=f"no mirror delivered the file with SHA-256 {sha256}:{listed}",
                fix="try again with a network connection (HTTPS_PROXY=http://host:port behind a "
                f"proxy)\ndata.dir=/path/to/files (a folder that holds them)\n{OTHER_DATA}",
            )


def _retrieve(wanted: Published, url: str, folder: Path, name: str, progress: bool) -> str | None:
    """Fetch one file unless it is there; return why the mirror failed, None if it did not."""
    import pooch
    import requests

    try:
        with _progress_bar(name, progress) as bar:
            download = pooch.HTTPDownloader(bar, chunk_size=_PIECE, timeout=TIMEOUT_S)
            pooch.retrieve(url, wanted.files[name], fname=name, path=folder, downloader=download)
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        return _network_reason(error)
    except ValueError:
        return "delivered something else (SHA-256 differs), which was deleted"
    except OSError as error:
        raise DistlabError(
            asked=f"keep {wanted.title}'s {name} in the cache folder {folder}",
            found=f"the folder cannot be used: {error.strerror or error}",
            fix=f"make room for {wanted.megabytes} MB and make the folder writable\n"
            "XDG_CACHE_HOME=/path/to/another/cache (an environment variable)\n"
            f"data.dir=/path/to/files (if you have the files elsewhere)\n{OTHER_DATA}",
        ) from None
    return None


def _network_reason(error: Exception) -> str:
    """Say in one short line why a request failed."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT_S[0]:g} s"
    if isinstance(error, requests.ReadTimeout):
        return f"no answer within {TIMEOUT_S[1]:g} s"
    cause = error.args[0] if error.args else error
    text = str(getattr(cause, "reason", None) or cause)
    return " ".join(text.rpartition("): ")[2].split())[:160]


class _Bar:
    """What pooch asks of a progress bar (``total``, ``update``, ``reset``, ``close``)."""

    def __init__(self, show: Callable[..., Any]) -> None:
        self._show = show
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._show(total=total or None)

    def update(self, size: int) -> None:
        """Advance by ``size`` bytes."""
        self._show(advance=size)

    def reset(self) -> None:
        """Start again from nothing."""
        self._show(completed=0)

    def close(self) -> None:
        """Nothing to do: the display closes with its context."""


@contextmanager
def _progress_bar(name: str, show: bool) -> Iterator[_Bar | bool]:
    """Yield a bar on standard error that appears with the first byte; False if none is wanted."""
    if not show:
        yield False
        return
    from functools import partial

    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(name, total=None, visible=False)
        yield _Bar(partial(display.update, task, visible=True))
