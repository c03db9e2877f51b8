"""Saved views of the MLflow UI: the columns and charts with which a study's runs are compared.

MLflow keeps a view as a tag ``mlflow.sharedViewState.KEY`` of the experiment: the state of its
runs page as JSON (seen in MLflow 3.17). It offers the views by name in the menu "Views", and opens
one by its key in the address. Bar charts show figures of whole runs, line charts those by epoch.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from distlab.tracking.run_writer import UNRANKED
from distlab.tracking.store import now_ms

TAG = "mlflow.sharedViewState."
SECTION = "study"

# Columns in their order, and their widths in pixels: first what a study is made for, and whether it
# counts. A run's name says framework, execution and workers.
COLUMNS = {
    "metrics.`throughput`": 110,
    "metrics.`time_to_accuracy_s`": 140,
    "metrics.`final_test_accuracy`": 140,
    "metrics.`scaling_efficiency`": 130,
    "tags.`verified`": 80,
    "tags.`caveats`": 110,
    "tags.`framework`": 90,
    "tags.`execution`": 90,
    "tags.`precision`": 80,
    "tags.`model`": 80,
    "tags.`scaling`": 80,
    "tags.`world_size`": 90,
    "tags.`repeat`": 70,
}
COUNTED = ("tags.verified = 'true'", *(f"tags.{tag} IS NULL" for tag in UNRANKED))
GROUPS = ("framework", "execution", "precision", "model", "scaling", "world_size")


def tags(study: str, name: str, scaling: Sequence[Sequence[str]]) -> dict[str, str]:
    """A study's views, as tags of its experiment: its runs, their means, and how they scale.

    Parameters
    ----------
    study, name:
        Its id, which is also the key of the first view, and its name.
    scaling:
        Metrics of the study's own run that belong on one chart, by number of workers.
    """
    below = f"tags.`mlflow.parentRunId` = '{study}'"
    runs = [
        _bar(1, "throughput"),
        _bar(2, "scaling_efficiency"),
        _scatter(3, "gpus", "throughput"),
        _line(4, "train_loss"),
        _line(5, "test_accuracy"),
        _bar(6, "time_to_accuracy_s"),
    ]
    by_cell = [{"mode": "tag", "groupByData": tag} for tag in GROUPS]
    views = {
        study: _view(f"{name}: runs", below, runs),
        f"{study}-means": _view(
            f"{name}: means of runs that count",
            " and ".join([below, *COUNTED]),
            runs,
            groupBy={"aggregateFunction": "average", "groupByKeys": by_cell},
        ),
        f"{study}-scaling": _view(
            f"{name}: scaling",
            f"attributes.run_id = '{study}'",
            [_line(10 + number, *metrics) for number, metrics in enumerate(scaling)],
        ),
    }
    return {TAG + key: value for key, value in views.items()}


def address(server: str, experiment_id: str, study: str) -> str:
    """Where a browser finds the first view of a study, below the server's address."""
    return (
        f"{server}/#/experiments/{experiment_id}/runs"
        f"?viewStateShareKey={study}&workflowType=machine_learning&compareRunsMode=CHART"
    )


def _view(name: str, query: str, charts: Sequence[Mapping[str, Any]], **more: Any) -> str:
    """The value of a view's tag."""
    shown = {"display": True, "isReordered": False, "deleted": False, "isGenerated": False}
    folded = {**shown, "display": False, "isGenerated": True}
    state = {
        "searchFilter": query,
        "orderByKey": "metrics.`throughput`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": list(COLUMNS),
        "columnWidths": COLUMNS,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": list(charts),
        "compareRunSections": [
            {"uuid": SECTION, "name": "Study", **shown},
            {"uuid": "model", "name": "Model metrics", **folded},
            {"uuid": "system", "name": "System metrics", **folded},
        ],
        "isAccordionReordered": True,
        **more,
    }
    now = now_ms()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    )


def _chart(kind: str, number: int, **values: Any) -> dict[str, Any]:
    """What all charts have in common."""
    return {
        "uuid": f"distlab-{number}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": SECTION,
        "deleted": False,
        "isGenerated": False,
        **values,
    }


def _bar(number: int, metric: str) -> dict[str, Any]:
    """A bar for each run."""
    return _chart("BAR", number, metricKey=metric)


def _line(number: int, *metrics: str) -> dict[str, Any]:
    """Lines over the step: the epoch, or the number of workers."""
    return _chart(
        "LINE",
        number,
        metricKey=metrics[0],
        selectedMetricKeys=list(metrics),
        lineSmoothness=0,
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        xAxisKey="step",
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=False,
        useGlobalLineSmoothing=True,
    )


def _scatter(number: int, parameter: str, metric: str) -> dict[str, Any]:
    """A point for each run: a metric against a parameter."""
    return _chart(
        "SCATTER",
        number,
        xaxis={"key": parameter, "type": "PARAM"},
        yaxis={"key": metric, "type": "METRIC"},
    )
