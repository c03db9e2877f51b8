import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import Machine, conduct, names, parent
from mlflow import MlflowClient

from distlab.cluster import connect
from distlab.errors import DistlabError, DivergedError, WorkerError
from distlab.measure import design
from distlab.runs import sitting
from distlab.tracking import reader as stored

pytestmark = pytest.mark.slow


def test_all_cells_run_once_before_any_runs_again(machine: Machine, options: Any) -> None:
    cells = [options("repeats=2"), options("framework=tf", "repeats=3")]
    found = conduct(*cells)
    assert machine.order == [
        ("torch", 1, 0),
        ("tf", 1, 0),
        ("torch", 1, 1),
        ("tf", 1, 1),
        ("tf", 1, 2),
    ]
    assert names(found["runs"]) == machine.order
    assert parent(found).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("overrides", "renewals"),
    [
        (["repeats=6", "group_runs=1"], [1, 2, 3, 4, 5]),
        (["repeats=6", "group_runs=4"], [4]),
        (["repeats=3", "group_runs=3"], []),
        (["repeats=2"], []),  # nothing is claimed from two repeats
        (["repeats=3"], [1, 2]),
        # Two repeats a group at most, so that three groups are left: sqrt(9 / 1) would be three.
        (["repeats=6"], [2, 4]),
    ],
)
def test_worker_processes_are_renewed(
    machine: Machine, options: Any, overrides: list[str], renewals: list[int]
) -> None:
    machine.values = {"startup_s": 9.0, "wall_s": 10.0, "group_run": 0}
    conduct(options(*overrides))
    assert machine.renewals == renewals


def test_the_order_is_drawn_anew_in_each_repeat(
    machine: Machine, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "place", design.place)
    cells = [options("repeats=8", f"framework={name}") for name in ("torch", "tf", "paddle")]
    found = conduct(*cells)
    repeats = [machine.order[k : k + 3] for k in range(0, 24, 3)]
    assert [{repeat for _, _, repeat in part} for part in repeats] == [{k} for k in range(8)]
    assert all({name for name, _, _ in part} == {"torch", "tf", "paddle"} for part in repeats)
    # The chance that eight draws of six orders are all alike is 6 ** -7.
    assert len({tuple(name for name, _, _ in part) for part in repeats}) > 1
    keys = {run["framework"]: run["cell"] for run in found["runs"]}
    for repeat, part in enumerate(repeats):
        drawn = sorted(keys, key=lambda name: design.place(found["study"], repeat, keys[name]))
        assert [name for name, _, _ in part] == drawn


def test_reports_on_new_runs_are_counted(machine: Machine, options: Any) -> None:
    found = conduct(options("repeats=1"))
    assert found["looks"] == 1
    again = conduct(options("repeats=1", f"study={found['study']}"), overrides=[])
    assert again["looks"] == 1  # nothing was run
    more = options("repeats=2", f"study={found['study']}")
    assert conduct(more, overrides=["repeats=2"])["looks"] == 2


def test_the_study_as_data(machine: Machine, options: Any) -> None:
    found = conduct(options("repeats=2"), experiment="classroom_mlp")
    assert found["name"] == "study of mlp: torch"
    assert found["experiment"] == "classroom_mlp"
    assert found["command"].startswith("python -m distlab.launch")
    assert found["started"] <= found["finished"]
    assert found["wall_s"] > 0
    assert found["environment"]["packages"]["mlflow"]
    assert {run["study"] for run in found["runs"]} == {found["study"]}
    assert len({run["cell"] for run in found["runs"]}) == 1
    assert [run["run_seed"] for run in found["runs"]] == [0, 1]
    assert (found["failed"], found["baselines"]) == ([], [])
    tracking = options().tracking
    assert stored.load(tracking, found["study"][:8], Path.cwd()) == found
    assert stored.load(tracking, None, Path.cwd()) == found
    children = stored.children(MlflowClient(found["tracking_uri"]), parent(found))
    assert [child.data.tags["mlflow.parentRunId"] for child in children] == [found["study"]] * 2
    assert {child.data.tags["repeat"] for child in children} == {"0", "1"}


def test_each_run_is_told_in_a_line(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.values = {
        "checks": {"clock": {"passed": False, "detail": "it stood still"}},
        "verified": False,
        "caveats": [{"code": "noisy", "detail": "someone else computed"}],
    }
    found = conduct(options("repeats=2"))
    out = capsys.readouterr().out
    assert f"study {found['study']}: 1 cell, 2 runs\n" in out
    lines = [line for line in out.splitlines() if line.startswith("[")]
    assert [line.split(":")[0] for line in lines] == [
        "[1/2] torch eager mlp x1 repeat 0",
        "[2/2] torch eager mlp x1 repeat 1",
    ]
    for line in lines:
        assert line.endswith("NOT verified: clock, NOT RANKED: too noisy (someone else computed)")


def test_what_will_not_be_ranked_is_said_before_it_runs(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    conduct(options("gpus=1"), options("gpus=512"))
    out = capsys.readouterr().out.splitlines()
    (said,) = (line for line in out if line.startswith("not to be ranked"))
    assert said.startswith("not to be ranked: torch eager mlp x512, oversubscribed (512 threads")
    assert out.index(said) < min(place for place, line in enumerate(out) if line[:1] == "[")
    conduct(options("gpus=1"), options("gpus=1", "epochs=1"), folder="fair")
    assert "not to be ranked" not in capsys.readouterr().out


def test_a_worker_that_fails_costs_its_run_and_no_other(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    died = [WorkerError("worker 0 died", "/there/rank-0.log") for _ in range(2)]
    machine.troubles[("torch", 1, 0)] = [*died]
    with pytest.raises(SystemExit) as left:
        conduct(options("repeats=2"), options("framework=tf", "repeats=2"))
    assert left.value.code == 1
    torch = ("torch", 1, 0)
    assert machine.order == [torch, torch, ("tf", 1, 0), ("torch", 1, 1), ("tf", 1, 1)]
    found = json.loads(Path("study/study.json").read_text())
    assert names(found["runs"]) == machine.order[2:]
    (failed,) = found["failed"]
    assert (failed["framework"], failed["execution"], failed["repeat"]) == ("torch", "eager", 0)
    assert failed["cell"] == found["runs"][1]["cell"]
    assert (failed["error"], failed["log"]) == ("worker 0 died", "/there/rank-0.log")
    out, err = capsys.readouterr()
    assert "failed: torch eager mlp x1 repeat 0" in out
    assert "1 run(s) failed" in out
    assert f"go on with: python -m distlab.launch study={found['study']}" in out
    assert "worker 0 died" in err and "/there/rank-0.log" in err
    assert parent(found).info.status == "FINISHED"
    children = stored.children(MlflowClient(found["tracking_uri"]), parent(found))
    assert [child.info.status for child in children] == ["FAILED", "FAILED", *["FINISHED"] * 3]


def test_a_run_whose_worker_failed_is_tried_once_more_by_itself(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for repeat in (0, 1):
        machine.troubles[("torch", 1, repeat)] = [WorkerError("worker 0 died", "log")]
    found = conduct(options("repeats=2"))
    first, second = ("torch", 1, 0), ("torch", 1, 1)
    assert machine.order == [first, first, second, second]
    assert names(found["runs"]) == [first, second] and found["failed"] == []
    out = capsys.readouterr().out
    assert out.count("it is tried once more") == 2
    assert "go on with" not in out and "failed; see above" not in out


def test_a_users_mistake_is_made_once(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.refusals[("torch", 4, 0)] = DistlabError("4 GPUs", "Ray has 0", "{command} device=cpu")
    with pytest.raises(SystemExit):
        conduct(options("gpus=4", "repeats=3"), options("framework=tf", "repeats=2"))
    assert machine.order == [("torch", 4, 0), ("tf", 1, 0), ("tf", 1, 1)]
    found = json.loads(Path("study/study.json").read_text())
    (failed,) = found["failed"]
    described = {name: failed[name] for name in ("framework", "execution", "world_size", "device")}
    assert described == {
        "framework": "torch",
        "execution": "eager",
        "world_size": 4,
        "device": "cpu",
    }
    assert "Ray has 0" in failed["error"]
    assert "{command}" not in capsys.readouterr().err


def test_what_may_pass_is_tried_once_more_and_its_cell_not_given_up(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = WorkerError("its machine was lost", "log", may_pass=True)
    slow = [DistlabError("workers", "no room", "wait", may_pass=True) for _ in range(2)]
    machine.troubles[("torch", 1, 0)] = [lost]
    machine.troubles[("tf", 1, 0)] = list(slow)
    with pytest.raises(SystemExit):
        conduct(options("repeats=2"), options("framework=tf", "repeats=2"))
    torch, tf = ("torch", 1, 0), ("tf", 1, 0)
    assert machine.order == [torch, torch, tf, tf, ("torch", 1, 1), ("tf", 1, 1)]
    found = json.loads(Path("study/study.json").read_text())
    assert names(found["runs"]) == [torch, ("torch", 1, 1), ("tf", 1, 1)]
    out = capsys.readouterr().out
    assert out.count("is tried once more") == 2 and "1 run(s) failed" in out


def test_a_study_whose_every_run_fails_has_no_report_and_fails(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.troubles[("torch", 1, 0)] = [WorkerError("it died", "log") for _ in range(2)]
    with pytest.raises(SystemExit):
        conduct(options())
    assert json.loads(Path("study/study.json").read_text())["runs"] == []
    assert "report:" not in capsys.readouterr().out


def test_refused_combinations_count_as_failed(machine: Machine, options: Any) -> None:
    with pytest.raises(SystemExit):
        conduct(options(), refused=1)
    assert machine.order == [("torch", 1, 0)]


def test_a_cell_planned_twice_runs_once(machine: Machine, options: Any) -> None:
    conduct(options(), options(), options("execution=graph"))
    assert machine.order == [("torch", 1, 0)] * 2, "eager and graph"


def test_a_run_with_one_worker_is_added_where_there_is_none(machine: Machine, options: Any) -> None:
    found = conduct(options("gpus=2", "repeats=2"), options("framework=tf", "repeats=2"))
    assert machine.order == [
        ("torch", 2, 0),
        ("tf", 1, 0),
        ("torch", 1, 0),
        ("torch", 2, 1),
        ("tf", 1, 1),
        ("torch", 1, 1),
    ]
    runs = dict(zip(machine.order, found["runs"], strict=True))
    for repeat in range(2):
        two, one = runs["torch", 2, repeat], runs["torch", 1, repeat]
        assert two["baseline_run_id"] == one["mlflow"]["run_id"], "that of the same repeat"
        assert two["speedup"] == (1500 + repeat) / (1000 + repeat)
    assert "speedup" not in runs["tf", 1, 0] or runs["tf", 1, 0]["speedup"] == 1
    assert found["baselines"] == []


def counted(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """What the first line tells after the study's id, and the counter of each run."""
    lines = capsys.readouterr().out.splitlines()
    first = next(line.split(": ", 1)[1] for line in lines if line.startswith("study "))
    return first, [line.split("]")[0] + "]" for line in lines if line.startswith("[")]


def test_baselines_are_counted_from_the_first_run_on(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    conduct(
        options("gpus=2", "repeats=2"),
        options("gpus=4", "repeats=2"),
        options("framework=tf", "gpus=2"),
    )
    first, counters = counted(capsys)
    assert first == "5 cells, 8 runs, 3 of them baselines"
    assert counters == [f"[{number}/8]" for number in range(1, 9)]
    assert [name[:2] for name in machine.order[3:5]] == [("torch", 1), ("tf", 1)]


def test_the_number_of_workers_that_ray_decides_plans_a_baseline_too(
    machine: Machine,
    options: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(connect, "connect", lambda options: connect.Resources(8, 4, 1))
    machine.values = {"device": "gpu"}
    conduct(options("gpus=null", "device=auto"))
    assert counted(capsys)[0] == "2 cells, 2 runs, 1 of them baselines"
    conduct(options("gpus=null", "device=cpu"), folder="on cpus")
    assert counted(capsys)[0] == "1 cell, 1 run"


def test_what_a_cell_that_cannot_run_was_to_be_measured_against_is_not_run(
    machine: Machine, options: Any
) -> None:
    machine.refusals["torch", 2, 0] = DistlabError("graph", "no compiler", "execution=eager")
    machine.refusals["tf", 4, 0] = DistlabError("4 workers", "too many", "gpus=2")
    with pytest.raises(SystemExit):
        conduct(
            options("gpus=2"), options("framework=tf", "gpus=4"), options("framework=tf", "gpus=2")
        )
    assert machine.order == [("torch", 2, 0), ("tf", 4, 0), ("tf", 2, 0), ("tf", 1, 0)]


def test_a_baseline_in_the_store_is_not_counted(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    conduct(options(), options("seed=1"), folder="earlier")
    counted(capsys)
    conduct(options("gpus=2"), options("gpus=2", "seed=2"), folder="later")
    first, counters = counted(capsys)
    assert first == "3 cells, 3 runs, 1 of them baselines", "there is none of that seed"
    assert counters == ["[1/3]", "[2/3]", "[3/3]"]


@pytest.mark.parametrize("one", [("gpus=1",), (), ("device=auto",), ("device=auto", "gpus=null")])
def test_no_baseline_is_added_beside_the_studys_own(
    machine: Machine, options: Any, one: tuple[str, ...]
) -> None:
    conduct(options("gpus=2"), options(*one))
    assert machine.order == [("torch", 2, 0), ("torch", 1, 0)]


def test_on_gpus_one_worker_of_the_study_is_the_baseline_too(
    machine: Machine, options: Any
) -> None:
    machine.values = {"device": "gpu"}
    conduct(options("gpus=2", "device=auto"), options("gpus=1", "device=auto"))
    assert machine.order == [("torch", 2, 0), ("torch", 1, 0)]


@pytest.mark.parametrize(
    "other", [("framework=tf",), ("execution=graph",), ("batch_size=32",), ("scaling=strong",)]
)
def test_a_cell_that_differs_is_no_baseline(
    machine: Machine, options: Any, other: tuple[str, ...]
) -> None:
    conduct(options("gpus=2"), options("gpus=1", *other))
    assert len(machine.order) == 3


def test_a_baseline_in_the_store_is_used_and_named(machine: Machine, options: Any) -> None:
    earlier = conduct(options("repeats=2"), folder="earlier")
    machine.order.clear()
    found = conduct(options("gpus=2", "repeats=2"), folder="later")
    assert machine.order == [("torch", 2, 0), ("torch", 2, 1)]
    ids = [run["mlflow"]["run_id"] for run in earlier["runs"]]
    assert sorted(run["mlflow"]["run_id"] for run in found["baselines"]) == sorted(ids)
    assert [run["baseline_run_id"] for run in found["runs"]] == ids, "each of its own repeat"


@pytest.mark.parametrize(
    "values",
    [
        {"verified": False},
        {"caveats": [{"code": "noisy", "detail": "others computed"}]},
        {"caveats": [{"code": "oversubscribed", "detail": "4 threads on 2 cores of here"}]},
        {"framework_version": "0.1"},
    ],
)
def test_a_run_in_the_store_that_does_not_serve_is_no_baseline(
    machine: Machine, options: Any, values: dict[str, Any]
) -> None:
    machine.values = values
    conduct(options(), folder="earlier")
    machine.values = {}
    machine.order.clear()
    assert conduct(options("gpus=2"), folder="later")["baselines"] == []
    assert machine.order == [("torch", 2, 0), ("torch", 1, 0)]


def test_a_fault_of_distlab_itself_ends_the_study_as_failed(machine: Machine, options: Any) -> None:
    machine.troubles["torch", 1, 0] = [RuntimeError("a bug")]
    with pytest.raises(RuntimeError):
        conduct(options("repeats=2"))
    found = json.loads(Path("study/study.json").read_text())
    assert parent(found).info.status == "FAILED"
    assert machine.order == [("torch", 1, 0)]
    assert "a bug" in Path("study/driver.log").read_text()


def test_a_run_that_diverges_is_told_and_another_seed_is_tried(
    machine: Machine, options: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "diverged at step 2 of epoch 1 on rank 0: loss nan"
    machine.troubles["torch", 1, 0] = [DivergedError("learning_rate=9", where, "learning_rate=1")]
    with pytest.raises(SystemExit):
        conduct(options("repeats=3"), options("framework=tf"))
    assert machine.order == [("torch", 1, 0), ("tf", 1, 0), ("torch", 1, 1), ("torch", 1, 2)]
    found = json.loads(Path("study/study.json").read_text())
    assert [(run["repeat"], run["error"]) for run in found["failed"]] == [(0, where)]
    assert names(found["runs"]) == [("tf", 1, 0), ("torch", 1, 1), ("torch", 1, 2)]
    assert f"found: {where}" in capsys.readouterr().err
    client = MlflowClient(found["tracking_uri"])
    (lost,) = (r for r in stored.children(client, parent(found)) if r.info.status == "FAILED")
    assert lost.data.tags["error"] == where


def test_a_bf16_run_is_measured_against_one_worker_in_bf16(machine: Machine, options: Any) -> None:
    conduct(options("gpus=1", "device=cpu"), folder="fp32")
    machine.order.clear()
    found = conduct(options("gpus=2", "device=cpu", "precision=bf16"))
    assert machine.order == [("torch", 2, 0), ("torch", 1, 0)]
    assert {run["precision"] for run in found["runs"]} == {"bf16"}
    two, one = found["runs"]
    assert two["baseline_run_id"] == one["mlflow"]["run_id"]
    assert found["baselines"] == []


def test_an_execution_that_is_the_default_is_run_once(machine: Machine, options: Any) -> None:
    conduct(options(), options("execution=eager"), options("execution=graph"))
    assert machine.order == [("torch", 1, 0)] * 2


def test_a_default_of_the_model_is_recorded_as_what_it_leads_to(
    machine: Machine, options: Any
) -> None:
    by_model = "+framework.execution_by_model.mlp=graph"
    found = conduct(options(by_model, "repeats=2"))
    assert {run["execution"] for run in found["runs"]} == {"graph"}
    again = f"study={found['study']}"
    more = conduct(
        options("execution=graph", "repeats=2", again),
        folder="again",
        overrides=[again, "execution=graph", "repeats=2"],
    )
    assert len(more["runs"]) == 2, "the same cell, so nothing was left to do"
