import json
import re
import subprocess
import sys
from copy import deepcopy
from typing import Any

import fresh_process
import pytest
import studies
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from summaries import summary

from distlab.outcome import schema
from distlab.outcome.schema import DOCUMENTS, json_schema, written

BOTH = pytest.mark.parametrize("document", DOCUMENTS)
STUDY = studies.study(repeats=2, failed=studies.where(repeat=1, framework="tf"), baselines="store")


def example(document: str) -> dict[str, Any]:
    return deepcopy(STUDY if document == "study.json" else summary())


@BOTH
def test_what_is_right_is_written_as_it_is(document: str) -> None:
    values = example(document)
    text = written(document, values)
    assert json.loads(text, parse_constant=pytest.fail) == values
    Draft202012Validator(json_schema(document)).validate(values)


@BOTH
@pytest.mark.parametrize("spoil", ["unknown", "missing", "nan", "text"])
def test_what_is_wrong_is_refused_by_writing_and_by_the_json_schema(
    document: str, spoil: str
) -> None:
    values = example(document)
    run = values["runs"][0] if document == "study.json" else values
    if spoil == "missing":
        del run["wall_s"]
    else:
        name = "novelty" if spoil == "unknown" else "wall_s"
        run[name] = {"unknown": 1.0, "nan": float("nan"), "text": "1.0"}[spoil]
    with pytest.raises(ValidationError) as refusal:
        written(document, values)
    assert ("novelty" if spoil == "unknown" else "wall_s") in str(refusal.value)
    if spoil != "nan":
        assert not Draft202012Validator(json_schema(document)).is_valid(values)


def test_what_a_backend_says_more_is_kept_but_must_be_json() -> None:
    values = summary()
    values["resources"]["products"] = "mkl"
    assert json.loads(written("summary.json", values))["resources"]["products"] == "mkl"
    values["resources"]["products"] = float("inf")
    with pytest.raises(ValueError, match="inf"):
        written("summary.json", values)


def test_runs_of_earlier_versions_stand_in_a_study_as_they_are() -> None:
    study = example("study.json")
    study["runs"][0] = {"framework": "torch", "cell": "c", "anything": None}
    study["baselines"] = [{"framework": "torch"}]
    assert json.loads(written("study.json", study)) == study
    Draft202012Validator(json_schema("study.json")).validate(study)


@BOTH
def test_every_field_says_what_it_means_and_what_null_means(document: str) -> None:
    told = json_schema(document)
    for name, model in {document: told, **told["$defs"]}.items():
        for field, entry in model["properties"].items():
            meaning = entry.get("description", "")
            if "$ref" in entry:
                meaning = meaning or told["$defs"][entry["$ref"].split("/")[-1]]["description"]
            assert meaning, f"{name}: {field}"
            if {"type": "null"} in entry.get("anyOf", []):
                assert re.search(r"\bnull\b", meaning, re.IGNORECASE), f"{name}: {field}"


@BOTH
def test_the_schema_is_printed(document: str) -> None:
    command = [sys.executable, "-m", "distlab.outcome.schema"]
    told = subprocess.run([*command, document], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == json_schema(document)
    refused = subprocess.run([*command, "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "summary.json|study.json" in refused.stderr


def test_workers_do_without_it() -> None:
    program = """
        import sys
        import distlab.cluster.actor
        assert not {"distlab.outcome.schema"} & set(sys.modules)
        import distlab.worker.loop, distlab.outcome.record
        assert "distlab.outcome.schema" not in sys.modules
    """
    fresh_process.run(program)
    assert schema.VERSION == 2
