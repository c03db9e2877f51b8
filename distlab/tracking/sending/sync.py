"""All that was kept in a folder and below it, sent: ``python -m distlab.tracking sync``."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distlab import files as whole
from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.masking import HIDDEN
from distlab.tracking.sending.journal import FILES, Kept, translated
from distlab.tracking.store import Store, open_store, unanswered

if TYPE_CHECKING:
    pass


TEXTS = (".json", ".md", ".html", ".csv", ".yaml", ".txt")
"""Files of a run's folder in which another id of the run is written when it gets one."""


def sync(folder: Path, tracking: TrackingOptions, home: Path, say: Callable[[str], None]) -> bool:
    """Send all that was kept in a folder and below it.

    A run that the store knows is completed under its id. One that it doesn't know, because the
    server was away when the run began or has lost it, is made; where its old id stands in the
    folder's files and in other calls, the new one takes its place.

    Parameters
    ----------
    folder:
        The folder of a run, of a study, or of many.
    tracking:
        Where to; what it leaves open is where the runs were to be recorded.
    home:
        Folder of the command.
    say:
        What shows a line to the user.

    Returns
    -------
    bool
        Whether everything is sent.

    Raises
    ------
    DistlabError
        If the store doesn't answer, or its address holds a password, which is not kept.
    """
    kept: list[Kept] = []
    whole = True
    for path in sorted(path for path in folder.rglob(FILES) if path.is_file()):
        try:
            kept.append(Kept(path))
        except BlockingIOError:
            say(f"{path.parent}: its run has not ended")
            whole = False
    kept = [one for one in kept if one.head]
    kept.sort(key=lambda one: one.head["create"]["time"])
    try:
        stores: dict[tuple[str, str], Store] = {}
        homes = [_store(one, folder, tracking, home, stores) for one in kept]
        ids: dict[str, str] = {}
        for one, store in zip(kept, homes, strict=True):
            run = one.settle(store)
            if run != one.own:
                ids[one.own] = run
        _rewrite(folder, ids)
        # A study's own page, which is about its runs, comes after them.
        for one, store in sorted(
            zip(kept, homes, strict=True), key=lambda pair: -len(pair[0].path.parts)
        ):
            done = one.send(store, ids, say)
            whole = whole and done
            one.close(remove=done)
            if done:
                say(f"sent: {one.path.parent} (run {one.head['run']})")
    except Exception as error:
        if not unanswered(error):
            raise
        raise DistlabError(
            f"to send what is kept in {folder}",
            f"MLflow does not answer: {str(error).splitlines()[0]}",
            f"when it does: python -m distlab.tracking sync {folder}",
        ) from error
    finally:
        for one in kept:
            one.close(remove=False)
    return whole


def _store(
    one: Kept,
    folder: Path,
    tracking: TrackingOptions,
    home: Path,
    stores: dict[tuple[str, str], Store],
) -> Store:
    """The store of a file's run."""
    uri = tracking.uri or one.head["uri"]
    if HIDDEN in uri:
        uri = os.environ.get("MLFLOW_TRACKING_URI", uri)
    if HIDDEN in uri:
        raise DistlabError(
            f"to send what is kept in {folder} to {uri}",
            "passwords are not kept",
            f"python -m distlab.tracking sync {folder} tracking.uri=ADDRESS",
        )
    experiment = tracking.experiment or one.head["experiment"]
    if (uri, experiment) not in stores:
        stores[uri, experiment] = open_store(TrackingOptions(uri, experiment), home)
    return stores[uri, experiment]


def _rewrite(folder: Path, ids: Mapping[str, str]) -> None:
    """Put new ids in place of old ones in a folder's texts."""
    for path in folder.rglob("*") if ids else ():
        if path.suffix in TEXTS and path.is_file():
            text = path.read_text(encoding="utf-8")
            if (new := translated(text, ids)) != text:
                whole.write(path, new)
