from copy import deepcopy
from typing import Any

import pytest
import studies
from summaries import summary

from distlab.outcome.restored import records
from distlab.outcome.restored.bounds import NotRestoredError
from distlab.outcome.schema import VERSION
from distlab.report.figures.cells import cells

STUDY = studies.study(repeats=2, failed=studies.where(repeat=1, framework="tf"), baselines="store")
ADDED = ("options", "kept_from_workers", "caveats", "group", "loss_curve", "precision", "series")


def earlier(run: dict[str, Any], version: int | None) -> dict[str, Any]:
    """A run as an earlier version wrote it."""
    old = {name: value for name, value in run.items() if name not in ADDED}
    old["step_time_ms"] = {"mean": 1.0, "p50": 1.0}
    return {**old, "schema_version": version}


def test_what_was_written_is_read_as_it_is() -> None:
    study = deepcopy(STUDY)
    assert records.study(study) == STUDY
    assert records.run(summary()) == summary()


@pytest.mark.parametrize("version", [None, VERSION - 1])
def test_runs_of_earlier_versions_are_read(version: int | None) -> None:
    study = deepcopy(STUDY)
    study["runs"] = [earlier(run, version) for run in study["runs"]]
    study["schema_version"] = version
    assert records.study(study)["runs"] == study["runs"]


def test_an_earlier_run_may_have_a_loss_that_was_none() -> None:
    old = earlier(summary(), None) | {"train_loss": [2.3, None]}
    assert records.run(old) == old
    with pytest.raises(NotRestoredError, match=r"train_loss\.1"):
        records.run(summary(train_loss=[2.3, None]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("throughput_samples_per_s", 0.0),
        ("throughput_samples_per_s", True),
        ("epoch_time_s", []),
        ("epoch_time_s", [1.0, -1.0]),
        ("test_accuracy", []),
        ("communication_share", 1.0),
        ("world_size", 0),
        ("checks", {"weights": "fine"}),
        ("mlflow", None),
        ("load", [1]),
        ("loss_curve", {"step": [1], "loss": []}),
        ("framework", ["torch"]),
    ],
)
@pytest.mark.parametrize("version", [None, VERSION])
def test_a_field_that_no_figure_can_be_made_of_is_named(
    name: str, value: Any, version: int | None
) -> None:
    with pytest.raises(NotRestoredError, match=name) as refused:
        records.run({**summary(), "schema_version": version, name: value})
    assert len(str(refused.value)) < 450
    study = deepcopy(STUDY)
    study["runs"][3][name] = value
    with pytest.raises(NotRestoredError, match=rf"runs\.3\.{name}"):
        records.study(study)


def test_a_later_version_is_told() -> None:
    with pytest.raises(NotRestoredError, match="a later version of distlab wrote it"):
        records.run(summary(schema_version=VERSION + 1))


@pytest.mark.parametrize("values", [None, [], "study", {}, {"study": "x"}, {"runs": []}])
def test_what_is_no_study_is_refused(values: Any) -> None:
    with pytest.raises(NotRestoredError, match="no study"):
        records.study(values)


def test_a_null_that_no_version_writes_is_as_if_it_were_not_there() -> None:
    study = {**deepcopy(STUDY), "looks": None}
    assert "looks" not in records.study(study)


def test_a_damaged_run_of_an_earlier_version_is_compared_with_no_other() -> None:
    study = deepcopy(STUDY)
    study["schema_version"] = None
    for run in (*study["runs"], *study["baselines"]):
        run["schema_version"] = None
    del study["baselines"][0]["framework_version"]
    assert cells(records.study(study))
