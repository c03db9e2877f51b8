"""Studies that are taken up again."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import Machine, conduct, names, parent
from mlflow import MlflowClient

from distlab.cluster import connect
from distlab.errors import DistlabError, WorkerError
from distlab.experiment.options import Options
from distlab.runs import study
from distlab.tracking import reader as stored

pytestmark = pytest.mark.slow


def interrupted(machine: Machine, at: tuple[str, int, int], *planned: Options, **more: Any) -> Any:
    """Conduct a study that Ctrl-C ends in a run."""
    machine.troubles[at] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        conduct(*planned, **more)
    machine.order.clear()
    return json.loads(Path("study/study.json").read_text())


def test_a_study_goes_on_where_it_was_interrupted(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = options("repeats=2"), options("framework=tf", "repeats=2")
    begun = interrupted(machine, ("tf", 1, 0), *planned)
    assert begun["finished"] is None
    assert parent(begun).info.status == "KILLED"
    assert f"go on with: python -m distlab.launch study={begun['study']}" in capsys.readouterr().out
    # The command's own cell is what its config files hold, and is not meant.
    short = begun["study"][:8]
    found = conduct(options(f"study={short}"), overrides=[f"study={short}"], folder="second")
    assert machine.order == [("tf", 1, 0), ("torch", 1, 1), ("tf", 1, 1)]
    assert found["study"] == begun["study"]
    assert found["wall_s"] >= begun["wall_s"]
    assert parent(found).info.status == "FINISHED" and found["finished"]
    assert sorted(names(found["runs"])) == sorted([("torch", 1, 0), *machine.order])
    assert len({run["cell"] for run in found["runs"]}) == 2


def test_the_told_command_has_what_finds_the_study_again(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["framework=torch", "tracking.uri=http://there", "cluster=existing", "gpus=1"]
    begun = interrupted(machine, ("torch", 1, 0), options(), overrides=overrides)
    again = f"study={begun['study']} tracking.uri=http://there cluster=existing\n"
    assert again in capsys.readouterr().out


def test_a_study_that_is_done_runs_nothing_again(
    machine: Machine, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = conduct(options("gpus=2"))
    machine.order.clear()
    monkeypatch.delattr(connect, "connect")
    again = [f"study={begun['study']}"]
    found = conduct(options(*again), overrides=again, folder="second")
    assert machine.order == []
    assert names(found["runs"]) == names(begun["runs"])


def test_the_other_repeats_of_an_added_baseline_run_too(machine: Machine, options: Any) -> None:
    begun = interrupted(machine, ("torch", 2, 1), options("gpus=2", "repeats=2"))
    again = [f"study={begun['study']}"]
    found = conduct(options(*again), overrides=again, folder="second")
    assert machine.order == [("torch", 2, 1), ("torch", 1, 1)]
    assert found["baselines"] == [], "its own runs are not from elsewhere"
    by_name = dict(zip(names(found["runs"]), found["runs"], strict=True))
    baseline = by_name["torch", 1, 1]["mlflow"]["run_id"]
    assert by_name["torch", 2, 1]["baseline_run_id"] == baseline


def test_more_repeats_of_a_study(machine: Machine, options: Any) -> None:
    begun = conduct(options(), options("framework=tf"))
    machine.order.clear()
    again = [f"study={begun['study']}", "repeats=2"]
    conduct(options(*again), overrides=again, folder="second")
    assert machine.order == [("torch", 1, 1), ("tf", 1, 1)]


def test_cells_of_the_command_join_the_study_and_its_plan(machine: Machine, options: Any) -> None:
    begun = conduct(options())
    machine.troubles["tf", 1, 0] = [KeyboardInterrupt()]
    again = [f"study={begun['study']}"]
    with pytest.raises(KeyboardInterrupt):
        conduct(
            options(*again, "framework=tf"),
            options(*again, "repeats=2"),
            overrides=[*again, "framework=tf,torch", "repeats=2"],
            folder="second",
        )
    machine.order.clear()
    conduct(options(*again), overrides=again, folder="third")
    assert machine.order == [("torch", 1, 1), ("tf", 1, 0)] or machine.order == [
        ("tf", 1, 0),
        ("torch", 1, 1),
    ]


def test_a_failed_run_is_tried_again_when_the_study_goes_on(machine: Machine, options: Any) -> None:
    machine.troubles["torch", 1, 0] = [WorkerError("it died", "log") for _ in range(2)]
    with pytest.raises(SystemExit):
        conduct(options())
    begun = json.loads(Path("study/study.json").read_text())
    assert len(begun["failed"]) == 1
    again = [f"study={begun['study']}"]
    found = conduct(options(*again), overrides=again, folder="second")
    assert (len(found["runs"]), found["failed"]) == (1, [])


def test_a_run_left_running_by_a_dead_command_becomes_killed(
    machine: Machine, options: Any
) -> None:
    begun = interrupted(machine, ("torch", 1, 0), options())
    client = MlflowClient(begun["tracking_uri"])
    (child,) = stored.children(client, parent(begun))
    client.update_run(child.info.run_id, status="RUNNING")
    again = [f"study={begun['study']}"]
    conduct(options(*again), overrides=again, folder="second")
    statuses = [child.info.status for child in stored.children(client, parent(begun))]
    assert statuses == ["KILLED", "FINISHED"]


def test_a_study_that_is_not_there_is_a_users_mistake(machine: Machine, options: Any) -> None:
    conduct(options())
    with pytest.raises(DistlabError, match="study=nonsense") as caught:
        study.conduct([options("study=nonsense")], Path("second"), ["study=nonsense"])
    assert "study of mlp: torch" in caught.value.found, "those that are there are shown"


def tampered(found: dict[str, Any], store: str, change: Any) -> None:
    """Change the plan of a study as anybody may who can write to its store."""
    client = MlflowClient(store)
    plan = json.loads(Path(client.download_artifacts(found["study"], "plan.json")).read_text())
    change(plan["cells"][0])
    client.log_text(found["study"], json.dumps(plan), "plan.json")


def test_code_that_only_the_store_names_is_not_run(
    machine: Machine, options: Any, study_store: str
) -> None:
    begun = conduct(options())
    machine.order.clear()

    def plant(cell: dict[str, Any]) -> None:
        cell["repeats"] = 2
        cell["framework"] |= {"name": "planted:Backend", "env": {"LD_PRELOAD": "/tmp/x.so"}}
        cell["framework"]["runtime_env"] = {"py_executable": "/tmp/x"}

    tampered(begun, study_store, plant)
    study = f"study={begun['study']}"
    with pytest.raises(DistlabError) as refused:
        conduct(options(study), overrides=[study])
    for planted in ("name=planted:Backend", "env.LD_PRELOAD=/tmp/x.so", "py_executable"):
        assert f"framework.{planted}" in refused.value.found or planted in refused.value.found
    assert study in refused.value.fix
    assert machine.order == []
    # The user's own command may name it.
    conduct(options(study, "+framework.env.A=1"), overrides=[study, "framework.env.A=1"])
    assert machine.order == [("torch", 1, 0)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda cell: cell.pop("framework"), "KeyError"),
        (lambda cell: cell.update(epochs=0), "epochs count from 1"),
        (lambda cell: cell["model"].update(name="../../x"), "a model's name is a word"),
        (lambda cell: cell["data"].update(sha256=["x"]), "no checksum"),
        (lambda cell: cell.update(learning_rate="${oc.env:HOME}"), "damaged"),
    ],
    ids=["missing", "epochs", "model", "checksum", "interpolation"],
)
def test_a_damaged_plan_is_a_short_error(
    machine: Machine, options: Any, study_store: str, change: Any, told: str
) -> None:
    begun = conduct(options())
    tampered(begun, study_store, change)
    study = f"study={begun['study']}"
    with pytest.raises(DistlabError) as refused:
        conduct(options(study), overrides=[study])
    assert told in refused.value.found
