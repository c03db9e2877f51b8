"""What ``summary.json`` and ``study.json`` hold: every field with its type, unit and meaning.

Both are checked against these models when they are written (:func:`written`): a field that is
missing or unknown, or a number that JSON has no word for (NaN, infinity), is a fault. Readers stay
tolerant, because records of earlier versions are read, too.

The fields of a run stand in :mod:`distlab.outcome.run_fields`.
``python -m distlab.outcome.schema summary.json`` prints the JSON Schema. Only the driver imports
this module: pydantic is nothing that a worker needs.
"""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Tag

from distlab.outcome.run_fields import Count, Open, Positive, Run, Seconds, Strict

VERSION = 2
"""Of both documents. A field that is added, renamed, removed or means something else makes a new
one, and :class:`EarlierRun` then takes the one before."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class StudyRun(Run):
    """A run of a study, with what it makes of its workers."""

    speedup: float | None
    """Throughput over that of the baseline with one worker; null without a baseline."""
    scaling_efficiency: float | None
    """``speedup`` over the number of workers; 1 is ideal; null without a baseline."""
    baseline_run_id: str | None
    """MLflow's id of that baseline; null if there is none."""


class EarlierRun(Open):
    """A run that was recorded by an earlier version, with the fields of its time."""

    schema_version: Literal[1] | None = None
    """Missing or null in runs of before there was a schema."""


class FailedRun(Strict):
    """A repeat that failed and was not made up for."""

    framework: str | None
    """As in a run; null where MLflow has no parameters of it. So are the next six."""
    execution: str | None
    """As in a run, or null."""
    precision: str | None
    """As in a run, or null."""
    model: str | None
    """As in a run, or null."""
    scaling: str | None
    """As in a run, or null."""
    device: str | None
    """As asked, or null."""
    world_size: Positive
    """Number of workers, as asked."""
    batch_size: Count
    """Samples of a step, as asked; 0 if unknown."""
    options: dict[str, str]
    """The options that make up its cell, as text by name, as far as they are known."""
    cell: str
    """Hash of its options."""
    repeat: Count
    """Which of the repeats, from 0."""
    error: str
    """Why it failed, in words."""
    log: str | None
    """The worker's log; null if no worker had begun one."""


class Environment(Open):
    """The driver's machine and software when the study began (also ``environment.json``)."""

    distlab: str
    """Version of distlab."""
    git_commit: str | None
    """Commit that distlab runs from, with ``-dirty`` if it was changed; null if installed."""
    python: str
    """Version of Python."""
    platform: str
    """Operating system."""
    processor: str
    """Name of the processor."""
    cpus: int | None
    """Cores of the machine; null where the system doesn't tell."""
    packages: dict[str, str]
    """Versions of all installed packages."""
    processor_model: str | None = None
    """Maker, family, model and stepping of the processor; null or missing where unknown."""
    memory_bytes: Positive | None = None
    """Memory of the machine in bytes; null or missing in earlier records."""
    virtual_machine: bool | None = None
    """Whether it is a virtual machine; null or missing where unknown."""
    repository: str | None = None
    """Web address of the checkout's origin; null or missing without any."""


def _age(run: Any) -> str:
    return "earlier" if isinstance(run, Mapping) and run.get("schema_version") != VERSION else "now"


class Study(Strict):
    """A study and all its runs, as ``study.json`` tells it."""

    schema_version: Literal[2]
    """Version of this schema."""
    study: str
    """Id: that of the study's MLflow run."""
    name: str
    """The study in a few words."""
    command: str
    """The command that began it."""
    experiment: str | None
    """The choice ``experiment=NAME`` of the command; null without one."""
    started: str
    """When it began: ISO 8601, UTC."""
    finished: str | None
    """When it ended; null while it is not finished."""
    wall_s: Seconds
    """Seconds of all sittings together."""
    looks: Positive
    """How many reports were made on new runs: each is one more chance to claim by chance."""
    distlab_version: str
    """Version of distlab that began it."""
    git_commit: str | None
    """Commit of distlab that began it; null if installed."""
    environment: Environment
    tracking_uri: str
    """Address of MLflow's store."""
    experiment_id: str
    """MLflow's id of the experiment."""
    runs: list[
        Annotated[
            Annotated[StudyRun, Tag("now")] | Annotated[EarlierRun, Tag("earlier")],
            Discriminator(_age),
        ]
    ]
    """The finished runs."""
    failed: list[FailedRun]
    """The repeats that failed and were not made up for."""
    baselines: list[
        Annotated[
            Annotated[Run, Tag("now")] | Annotated[EarlierRun, Tag("earlier")], Discriminator(_age)
        ]
    ]
    """Runs with one worker from elsewhere in the store that runs are measured against."""


DOCUMENTS: dict[str, type[BaseModel]] = {"summary.json": Run, "study.json": Study}


def written(document: str, values: Mapping[str, Any]) -> str:
    """The text of a document: strict JSON for people, indented, keys in their order.

    Parameters
    ----------
    document:
        ``summary.json`` or ``study.json``.
    values:
        What it holds.

    Raises
    ------
    pydantic.ValidationError, ValueError
        If the values are not what the schema says, or have no JSON.
    """
    DOCUMENTS[document].model_validate(values)
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def json_schema(document: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a document."""
    return {"$schema": DIALECT, **DOCUMENTS[document].model_json_schema()}


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) == 2 else ""
    if asked not in DOCUMENTS:
        sys.exit(f"usage: python -m distlab.outcome.schema {'|'.join(DOCUMENTS)}")
    sys.stdout.write(json.dumps(json_schema(asked), indent=2) + "\n")
