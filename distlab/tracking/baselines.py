"""Runs with one worker that the store has, against which those with several are measured."""

import contextlib
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from distlab.experiment.training.standard import beyond
from distlab.measure.efficiency import SAME
from distlab.tracking.reader import PAGE, LostError, summary_of
from distlab.tracking.run_writer import UNRANKED
from distlab.tracking.store import Store

# What equal comparison keys have in common among the options, as parameters of an MLflow run.
COMPARED = (
    "model.name",
    "device",
    "precision",
    "epochs",
    "batch_size",
    "scaling",
    "learning_rate",
    "optimizer.variant",
    "seed",
    "threads_per_worker",
)


def stored_baselines(store: Store, summary: dict[str, Any]) -> list[Any]:
    """Verified runs with one worker that differ from a run in nothing else, from the store.

    Returns
    -------
    list of dict
        Summaries: the newest such run and, where that belongs to a study, its repeats.
    """
    client, experiment_id = store.client, store.experiment_id
    same = {name: summary[name] for name in (*SAME, "series") if name in summary}
    quiet = _with_one_worker(client, experiment_id, same)
    if not quiet:
        return []
    study = quiet[0].data.tags.get("study")
    chosen = [run for run in quiet if study and run.data.tags.get("study") == study] or quiet[:1]
    summaries = []
    for run in chosen:
        with contextlib.suppress(LostError):
            summaries.append(summary_of(client, run.info.run_id))
    return summaries


def has_run_with_one_worker(store: Store, parameters: Mapping[str, Any]) -> bool:
    """Whether the store has a verified run with one worker of these options.

    Parameters
    ----------
    store:
        The store.
    parameters:
        Options as a run records them; those count that two runs to be compared have in common.
        So does the content of their data, ``data_sha256``, if it is known. What a run alone tells
        (the devices, versions) may differ.
    """
    client, experiment_id = store.client, store.experiment_id
    same = {name: str(parameters[name]) for name in COMPARED}
    tags = {"framework": parameters["framework.name"], "execution": parameters["execution"]}
    if parameters.get("data_sha256"):
        tags["data_sha256"] = parameters["data_sha256"]
    training = beyond(parameters)
    return any(
        same.items() <= run.data.params.items() and beyond(run.data.params) == training
        for run in _with_one_worker(client, experiment_id, tags)
    )


def _with_one_worker(
    client: MlflowClient, experiment_id: str, tags: Mapping[str, Any]
) -> list[Run]:
    """Runs with one worker that count and have these tags, the newest first."""
    wanted = {**tags, "world_size": "1", "verified": "true"}
    conditions = [f"tags.{name} = '{value}'" for name, value in wanted.items()]
    found = client.search_runs(
        [experiment_id],
        " and ".join([*conditions, "attributes.status = 'FINISHED'"]),
        max_results=PAGE,
        order_by=["attributes.start_time DESC"],
    )
    return [run for run in found if not run.data.tags.keys() & {*UNRANKED}]
