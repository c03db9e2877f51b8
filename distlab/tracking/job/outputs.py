"""What a job recorded in the store, brought into a folder of this machine."""

import os
from pathlib import Path

from distlab.experiment.options import TrackingOptions
from distlab.files import slug, write
from distlab.outcome import schema
from distlab.tracking import reader
from distlab.tracking.origin import JOB
from distlab.tracking.store import address, open_store

REACH_S = 10.0
"""How long a server may take to say anything at all; MLflow tries for minutes."""


def fetch(options: TrackingOptions, job: str, folder: Path) -> list[str]:
    """Download what a job's runs keep in the store, but for their models.

    A run by itself, and a study, go into ``folder``; a study's runs into folders of their names
    in it. Of a study that was gone on with, the runs that this job made.

    Returns
    -------
    list
        The ids of the runs; none if nothing was recorded.

    Raises
    ------
    OSError
        If the store is a server that is not there.
    """
    _reach(address(options, Path.cwd()))
    opened = open_store(options, Path.cwd())
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    runs = opened.client.search_runs(
        [opened.experiment_id], f"tags.{JOB} = '{job}'", order_by=["attributes.start_time"]
    )
    for run in runs:
        inner = "mlflow.parentRunId" in run.data.tags
        place = folder / slug(run.info.run_name) if inner else folder
        place.mkdir(parents=True, exist_ok=True)
        for item in opened.client.list_artifacts(run.info.run_id):
            if item.path != "model":
                opened.client.download_artifacts(run.info.run_id, item.path, str(place))
        if run.data.tags.get(reader.KIND) == reader.STUDY:
            study = reader.gather(opened.client, run)
            write(place / "study.json", schema.written("study.json", study))
    return [run.info.run_id for run in runs]


def _reach(uri: str) -> None:
    """Raise OSError if a server says nothing."""
    import requests

    try:
        if uri.startswith("http"):
            requests.head(uri, timeout=REACH_S)
    except requests.Timeout:
        raise OSError(f"its server has said nothing for {REACH_S:g} s") from None
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
        pass  # MLflow has settings of its own for these
