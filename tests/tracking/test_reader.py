import json
import re
from pathlib import Path
from typing import Any

import pytest

from distlab.errors import DistlabError
from distlab.experiment.options import TrackingOptions
from distlab.tracking import reader
from distlab.tracking.run_writer import Part


def ids(runs: list[dict[str, Any]]) -> list[str]:
    return [run["mlflow"]["run_id"] for run in runs]


def test_a_study_is_read_back_from_the_store_alone(
    begin: Any, record: Any, options: TrackingOptions, study_store: str, tmp_path: Path
) -> None:
    tracker = begin(experiment="classroom_mlp")
    runs = [record(tracker, repeat=0), record(tracker, repeat=1)]
    tracker.finish("FINISHED", 2.5)
    found = reader.load(options, tracker.study, tmp_path)
    told = {"study": tracker.study, "name": "a study", "command": "a b", "wall_s": 2.5}
    assert {name: found[name] for name in told} == told
    assert found["experiment"] == "classroom_mlp"
    assert found["tracking_uri"] == study_store
    assert ids(found["runs"]) == ids(runs)
    for moment in (found["started"], found["finished"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", moment)
    assert found["environment"]["python"]
    assert json.loads(json.dumps(found)) == found


def test_a_study_that_goes_on_has_no_end(begin: Any, options: Any, tmp_path: Path) -> None:
    tracker = begin()
    assert reader.load(options, None, tmp_path)["finished"] is None
    tracker.finish("KILLED", 1.0)
    assert reader.load(options, None, tmp_path)["finished"] is None


def test_a_study_is_found_by_its_first_digits_or_as_the_latest(
    begin: Any, options: TrackingOptions, tmp_path: Path
) -> None:
    one, two = begin("one"), begin("two")
    assert reader.load(options, one.study[:10], tmp_path)["name"] == "one"
    assert reader.load(options, None, tmp_path)["study"] in (one.study, two.study)
    with pytest.raises(DistlabError) as caught:
        reader.load(options, "nonsense", tmp_path)
    assert "study=nonsense" in caught.value.asked
    assert one.study in caught.value.found and "two" in caught.value.found


def test_digits_of_several_studies_are_not_guessed(
    begin: Any, options: TrackingOptions, tmp_path: Path
) -> None:
    found: dict[str, str] = {}
    while True:
        new = begin().study
        if new[0] in found:
            break
        found[new[0]] = new
    with pytest.raises(DistlabError) as caught:
        reader.load(options, new[0], tmp_path)
    assert "several" in caught.value.found and new in caught.value.found


def test_a_run_by_itself_is_no_study(record: Any, options: TrackingOptions, tmp_path: Path) -> None:
    alone = record(None)
    with pytest.raises(DistlabError) as caught:
        reader.load(options, alone["mlflow"]["run_id"], tmp_path)
    assert "no study" in caught.value.found


def test_the_last_try_of_a_run_counts(begin: Any, record: Any) -> None:
    tracker = begin()
    part = Part(tracker.study, "c", 0)
    parameters = {"gpus": None, "batch_size": 32, "model.name": "mlp", "precision": "bf16"}
    tracker.failed(part, parameters, "it died")
    (failed,) = tracker.load()["failed"]
    told = {"cell": "c", "repeat": 0, "error": "it died", "model": "mlp", "batch_size": 32}
    told["precision"] = "bf16"
    assert {name: failed[name] for name in told} == told
    assert (failed["world_size"], failed["log"]) == (1, None)
    record(tracker, "c", 0)
    found = tracker.load()
    assert (len(found["runs"]), found["failed"]) == (1, [])


def test_runs_are_related_to_those_of_the_same_repeat(begin: Any, record: Any) -> None:
    tracker = begin()
    stored = [record(None, repeat=k, throughput_samples_per_s=100.0 * (k + 1)) for k in range(2)]
    for repeat in range(2):
        record(tracker, repeat=repeat, world_size=2, throughput_samples_per_s=300.0)
    assert tracker.load()["runs"][0]["speedup"] is None
    tracker.baselines(ids(stored))
    found = tracker.load()
    assert sorted(ids(found["baselines"])) == sorted(ids(stored))
    by_repeat = {run["repeat"]: run for run in found["runs"]}
    assert (by_repeat[0]["speedup"], by_repeat[1]["speedup"]) == (3.0, 1.5)
    assert by_repeat[1]["scaling_efficiency"] == 0.75
    assert by_repeat[1]["baseline_run_id"] == ids(stored)[1]
