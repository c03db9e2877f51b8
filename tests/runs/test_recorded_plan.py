import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from distlab.data import dataset
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment
from distlab.experiment.options import Options
from distlab.masking import masked
from distlab.runs.plan import Cell, cells
from distlab.runs.recorded_plan import plain, restored

Of = Callable[..., Options]


@pytest.fixture
def options(experiment: Callable[..., Experiment]) -> Of:
    return lambda *overrides: experiment(*overrides).options


def key(options: Options) -> str:
    return Cell(options, "folder", dataset.MNIST5K_CHECKSUM).key


def back(options: Options, now: Options) -> Options:
    """Options that went through JSON as part of a plan."""
    recorded = json.loads(json.dumps(plain(Cell(options, "folder"))))
    return restored(recorded, now)[0]


def test_options_come_back_from_json_as_they_were(options: Of) -> None:
    one = options(
        "framework=tf", "execution=graph", "scaling=strong", "gpus=2", "learning_rate=1e-7"
    )
    assert back(one, one) == one
    assert key(back(one, one)) == key(one)


def test_where_a_study_is_recorded_and_run_is_the_new_commands_business(options: Of) -> None:
    before = options("data=mnist", "epochs=3", "repeats=4")
    now = options(
        "data=mnist",
        "tracking.uri=http://there",
        "cluster.start_timeout_s=7",
        "data.dir=/data",
        "study=abc",
        "epochs=9",
        "repeats=9",
    )
    one = back(before, now)
    assert (one.tracking, one.cluster, one.study) == (now.tracking, now.cluster, "abc")
    assert one.data == before.data, "which folder holds them is found out by their content"
    assert (one.epochs, one.repeats) == (3, 4)
    assert key(one) == key(before)


def test_defaults_by_model_come_back_from_json_and_name_the_cell(options: Of) -> None:
    one = options("+framework.execution_by_model.mlp=graph", "precision=bf16")
    again = back(one, options())
    assert again == one
    assert Cell(again, "folder").label == "torch graph mlp x1 bf16"


def test_a_plan_recorded_before_there_was_a_precision_is_fp32(options: Of) -> None:
    values = plain(Cell(options(), "folder"))
    del values["precision"], values["framework"]["execution_by_model"], values["data"]["sha256"]
    before = replace(options().framework, execution_by_model={})
    assert restored(values, options()) == (replace(options(), framework=before), None, None)
    assert key(restored(values, options())[0]) == key(options())
    # As it was made of options alone.
    assert key(options()) == Cell(options(), "folder").by_name == "871cc91bde4b0243"


def test_a_secret_is_not_in_the_plan_and_comes_from_the_environment(
    options: Of, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = options("+framework.env.HF_TOKEN=hf-1")
    recorded = masked(plain(cells([one])[0]))
    assert "hf-1" not in json.dumps(recorded)
    with pytest.raises(DistlabError, match=r"HF_TOKEN=\.\.\. python"):
        restored(recorded, options("study=1a"))
    monkeypatch.setenv("HF_TOKEN", "hf-1")
    assert restored(recorded, options())[0].framework.env == {"HF_TOKEN": "hf-1"}


def test_a_recorded_text_is_no_interpolation(options: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPHRASE", "not for the store")
    values = plain(Cell(options("data=mnist"), "folder"))
    values["data"]["dir"] = "${oc.env:PASSPHRASE}"
    assert restored(values, options())[0].data.dir == "${oc.env:PASSPHRASE}"
