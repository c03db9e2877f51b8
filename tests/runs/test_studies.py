"""Studies as a user makes them: real workers, one real store, from the command line."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import command
import pytest
from command import Ended, Running, alive
from mlflow import MlflowClient

from distlab.tracking.pages.views import TAG

CELL = (*command.SMALL_JOB, "epochs=1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def ended(folder: Path) -> Ended:
    ended = command.run(folder, "-m", *command.STRONG_JOB, "gpus=2", "repeats=2")
    assert ended.code == 0, ended.out + ended.err
    return ended


@pytest.fixture(scope="module")
def study(ended: Ended) -> dict[str, Any]:
    return dict(json.loads((ended.run_dir / "study.json").read_text()))


def load_of(run: dict[str, Any]) -> str | None:
    """Why the machine was too noisy, if it was."""
    return run["load"]["too_noisy"]


@pytest.fixture(scope="module")
def client(study: dict[str, Any]) -> MlflowClient:
    return MlflowClient(study["tracking_uri"])


def test_the_study_adds_its_own_baseline_and_keeps_its_workers(study: dict[str, Any]) -> None:
    runs = [(run["world_size"], run["repeat"], run["group_run"]) for run in study["runs"]]
    assert sorted(runs) == [(1, 0, 0), (1, 1, 1), (2, 0, 0), (2, 1, 1)]
    assert [repeat for _, repeat, _ in runs] == [0, 0, 1, 1]
    groups = {(run["world_size"], run["group"]) for run in study["runs"]}
    assert len(groups) == len({group for _, group in groups}) == 2
    assert all(run["verified"] for run in study["runs"])
    for run in study["runs"]:
        split = run["startup_split_s"]
        kept = run["group_run"] > 0
        assert (split["worker_framework_import"] == 0) == kept
        assert (split["worker_process_group"] == 0) == kept
        assert (run["communication_share"] is not None) == (run["world_size"] == 2)
        assert run["load"]["cores"] > 0
    assert study["failed"] == [] and study["baselines"] == []


def test_runs_are_paired_with_the_baseline_of_the_same_repeat(study: dict[str, Any]) -> None:
    ids = {(run["world_size"], run["repeat"]): run["mlflow"]["run_id"] for run in study["runs"]}
    rates = {
        (run["world_size"], run["repeat"]): run["throughput_samples_per_s"] for run in study["runs"]
    }
    # A run on a machine with other load is a baseline for none, and is measured against none.
    alone = [run for run in study["runs"] if run["world_size"] == 1 and not load_of(run)]
    quiet = [run["repeat"] for run in alone]
    for run in study["runs"]:
        repeat = run["repeat"]
        base = repeat if repeat in quiet else next(iter(quiet), None)
        if base is None or load_of(run):
            assert run.get("baseline_run_id") is None and run.get("speedup") is None
        else:
            assert run["baseline_run_id"] == ids[1, base]
            speedup = rates[run["world_size"], repeat] / rates[1, base]
            assert run["speedup"] == pytest.approx(speedup)
        # Strong scaling and one seed for each repeat: the same mathematics on 1 worker and on 2.
        assert run["run_seed"] == repeat
    seeds = [{r["samples_sha256"] for r in study["runs"] if r["repeat"] == k} for k in range(2)]
    assert [len(digests) for digests in seeds] == [1, 1]
    assert seeds[0] != seeds[1]


def test_mlflow_has_a_parent_with_report_views_and_children(
    study: dict[str, Any], client: MlflowClient
) -> None:
    parent = client.get_run(study["study"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["kind"] == "study"
    # Where other load spoiled half of its runs, a cell has no figure, and nothing is drawn of it.
    noisy = [run["world_size"] for run in study["runs"] if load_of(run)]
    spoiled = set(noisy) == {1, 2}
    assert spoiled or any(name.startswith("throughput/") for name in parent.data.metrics)
    experiment = client.get_experiment(parent.info.experiment_id)
    assert {TAG + study["study"] + end for end in ("", "-means", "-scaling")} <= set(
        experiment.tags
    )
    report = {item.path for item in client.list_artifacts(study["study"], "report")}
    assert {"report/report.html", "report/report.md", "report/report.json"} <= report
    note = parent.data.tags["mlflow.note.content"]
    shown = set(re.findall(r"get-artifact\?path=(\S+?)&run_uuid=", note))
    plots = {item.path for item in client.list_artifacts(study["study"], "report/plots")}
    assert shown <= plots
    assert shown or spoiled
    for run in study["runs"]:
        child = client.get_run(run["mlflow"]["run_id"])
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == study["study"]
        if run["world_size"] == 2 and run.get("speedup") is not None:
            assert child.data.metrics["speedup"] == pytest.approx(run["speedup"])
            assert child.data.tags["baseline_run_id"] == run["baseline_run_id"]


def test_the_output_is_short_and_says_where_all_is(ended: Ended, study: dict[str, Any]) -> None:
    assert ended.err == ""
    assert "\x1b" not in ended.out
    lines = ended.out.splitlines()
    assert lines[0] == f"study {study['study']}: 2 cells, 4 runs, 2 of them baselines"
    assert lines[1] == "order: drawn anew in each repeat, from the study's id"
    assert [line[:5] for line in lines[2:6]] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    for line in lines[2:6]:
        assert re.search(r": [\d,]+ samples/s, [\d.]+%, .* s in all, verified", line), line
    page = ended.run_dir / "report" / "report.html"
    assert page.is_file() and f"wrote {page}" in ended.out
    assert any(line.startswith("compare: http") and study["study"] in line for line in lines)


def test_a_kept_worker_computes_what_a_new_one_does(
    study: dict[str, Any], run_of_two: Ended
) -> None:
    """Repeat 1 ran in processes that had run repeat 0; seed=1 in new ones is the same run."""
    (kept,) = (run for run in study["runs"] if (run["world_size"], run["repeat"]) == (2, 1))
    fresh = json.loads((run_of_two.run_dir / "summary.json").read_text())
    assert fresh["group_run"] == 0 and kept["group_run"] == 1
    for name in ("first_losses", "final_weights_sha256", "test_accuracy", "samples_sha256"):
        assert kept[name] == fresh[name], name


def test_an_interrupted_study_goes_on_to_its_end(folder: Path, client: MlflowClient) -> None:
    """Interrupted by SIGTERM, as a batch system does: what Ctrl-C does to a run, and no less.

    While it runs, a second command that would go on with it is told who runs it.
    """
    running = Running(folder, "-m", *CELL, "gpus=1", "repeats=2", "seed=7")
    study = running.wait_for(r"^study (\w+):")
    running.wait_for(r"^\[1/2\]")
    processes = running.processes()
    worker = running.worker(0)
    worker.suspend()  # so that it is in its second run all the while
    second = command.run(folder, f"study={study}")
    assert (second.code, second.out) == (1, ""), second.err
    assert f"process {running.process.pid} on host" in second.err
    assert len(second.err.splitlines()) < 8 and "Traceback" not in second.err
    running.process.send_signal(signal.SIGTERM)
    worker.resume()
    ended = running.end()
    assert ended.code == 128 + signal.SIGTERM, ended.err
    assert "Traceback" not in ended.err
    assert alive(processes) == []
    (told,) = re.findall(r"^go on with: python -m distlab\.launch (study=\w+)$", ended.out, re.M)
    assert told == f"study={study}"
    assert client.get_run(study).info.status == "KILLED"
    again = command.run(folder, told)
    assert again.code == 0, again.err
    assert f"study {study}: 1 cell, 2 runs, 1 of them done" in again.out
    assert re.findall(r"^\[\d/\d\]", again.out, re.M) == ["[2/2]"]
    run = client.get_run(study)
    assert run.info.status == "FINISHED"
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{study}'"
    )
    finished = [child for child in children if child.info.status == "FINISHED"]
    assert sorted(child.data.tags["repeat"] for child in finished) == ["0", "1"]
    assert {child.info.status for child in children} <= {"FINISHED", "KILLED"}
