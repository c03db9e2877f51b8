import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import command
import mlflow.pyfunc
import numpy as np
import pytest
import yaml
from command import SECRET, STRONG_JOB, TEXT, Ended, Running, alive
from mlflow import MlflowClient

from distlab.data.order import digest, epoch_order
from distlab.data.sources import load
from distlab.machine.cores import usable
from distlab.models.shipped import MODELS
from distlab.models.weights import draw, fingerprint

JOB = (*command.SMALL_JOB, "seed=1")
STEPS = 4000 // 48
FRAMEWORKS = ("torch", "tensorflow", "keras", "paddle", "jax")
# The command line, which then tells which frameworks its own process has imported.
DRIVER = f"""
import json, sys
from distlab import launch
if __name__ == "__main__":
    launch.main()
    found = [name for name in {FRAMEWORKS!r} if name in sys.modules]
    open("frameworks.json", "w").write(json.dumps(found))
"""


# The command line, whose work is to get a signal.
SIGNALLED = """
import signal, sys
from distlab import launch
number = int(sys.argv.pop())
launch._compose_and_run = lambda: signal.raise_signal(number)
launch.main()
"""


@pytest.fixture
def ended(run_of_two: Ended) -> Ended:
    """A run on two CPU workers."""
    return run_of_two


@pytest.fixture
def summary(ended: Ended) -> dict[str, Any]:
    return dict(json.loads((ended.run_dir / "summary.json").read_text()))


@pytest.fixture(scope="module")
def one_and_three(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same experiment on one worker and on three, as a study of ``DRIVER``'s."""
    folder = tmp_path_factory.mktemp("study")
    script = folder / "driver.py"
    script.write_text(DRIVER)
    started = [sys.executable, str(script)]
    # As in a notebook, whose backend of matplotlib is not installed here.
    notebook = {**command.ENVIRONMENT, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    ended = command.run(
        folder,
        "-m",
        *STRONG_JOB,
        "seed=1",
        "gpus=1,3",
        SECRET,
        command=started,
        environment=notebook,
    )
    assert ended.code == 0, ended.out + ended.err
    return ended


@pytest.mark.slow
def test_summary_has_every_figure_with_its_type(summary: dict[str, Any]) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "framework": str,
        "framework_version": str,
        "execution": str,
        "model": str,
        "data": str,
        "device": str,
        "world_size": int,
        "scaling": str,
        "batch_size": int,
        "global_batch_size": int,
        "epochs": int,
        "seed": int,
        "threads_per_worker": int,
        "parameters": int,
        "steps_per_epoch": int,
        "epoch_time_s": list,
        "throughput_samples_per_s": float,
        "step_time_ms": dict,
        "train_loss": list,
        "test_loss": list,
        "test_accuracy": list,
        "time_to_accuracy_s": (float, type(None)),
        "first_losses": list,
        "weights_sha256": str,
        "final_weights_sha256": str,
        "samples_sha256": str,
        "evaluated_samples": int,
        "startup_s": float,
        "wall_s": float,
        "verified": bool,
        "caveats": list,
        "checks": dict,
        "mlflow": dict,
    }
    for name, kind in kinds.items():
        assert isinstance(summary[name], kind), f"{name}: {summary.get(name)!r}"
    # An epoch is one span, and no percentile of two epochs is one of steps.
    assert [summary["step_time_ms"][name] for name in ("p50", "p95", "p99")] == [None] * 3
    assert set(summary["mlflow"]) >= {"tracking_uri", "experiment", "run_id"}
    for name in ("epoch_time_s", "train_loss", "test_loss", "test_accuracy"):
        assert len(summary[name]) == 2, name
    assert len(summary["first_losses"]) == 10


@pytest.mark.slow
def test_summary_says_what_was_asked(summary: dict[str, Any]) -> None:
    expected = {
        "framework": "torch",
        "execution": "eager",
        "model": "mlp",
        "data": "mnist5k",
        "device": "cpu",
        "world_size": 2,
        "scaling": "strong",
        "batch_size": 48,
        "global_batch_size": 48,
        "epochs": 2,
        "seed": 1,
        "threads_per_worker": 1,
        "parameters": 89_610,
        "steps_per_epoch": STEPS,
        "evaluated_samples": 1000,
    }
    assert {name: summary[name] for name in expected} == expected


@pytest.mark.slow
def test_figures_are_what_the_seed_and_the_clock_give(summary: dict[str, Any]) -> None:
    orders = [epoch_order(1, epoch, 4000, 48) for epoch in range(2)]
    assert summary["samples_sha256"] == digest(orders)
    assert summary["weights_sha256"] == fingerprint(draw(MODELS["mlp"], 1))
    assert summary["final_weights_sha256"] != summary["weights_sha256"]
    rate = 2 * STEPS * 48 / sum(summary["epoch_time_s"])
    assert summary["throughput_samples_per_s"] == pytest.approx(rate)
    mean = 1e3 * sum(summary["epoch_time_s"]) / (2 * STEPS)
    assert summary["step_time_ms"]["mean"] == pytest.approx(mean)
    assert summary["startup_s"] < summary["wall_s"]
    assert sum(summary["epoch_time_s"]) < summary["wall_s"]


@pytest.mark.slow
def test_workers_have_what_the_machine_has_and_not_what_the_shell_says(
    ended: Ended, summary: dict[str, Any]
) -> None:
    assert summary["kept_from_workers"] == ["GOMP_CPU_AFFINITY", "OMP_PROC_BIND"]
    assert ended.out.count("kept from workers: GOMP_CPU_AFFINITY, OMP_PROC_BIND") == 1
    # They were born without them.
    assert summary["resources"]["kept_out"] == {}
    assert set(summary["resources"]["cpu_affinity"]) == os.sched_getaffinity(0)


@pytest.mark.slow
def test_it_learns_and_is_verified(summary: dict[str, Any]) -> None:
    assert summary["verified"], summary["checks"]
    assert all(check["passed"] for check in summary["checks"].values())
    assert summary["train_loss"][1] < summary["train_loss"][0] < summary["first_losses"][0]
    assert summary["test_accuracy"][1] > 0.85


@pytest.mark.slow
def test_mlflow_has_the_run(ended: Ended, summary: dict[str, Any]) -> None:
    run = ended.mlflow_run()
    assert run.info.status == "FINISHED"
    assert summary["mlflow"]["run_id"] == run.info.run_id
    uri = f"sqlite:///{ended.folder}/mlruns/mlflow.db"
    assert summary["mlflow"]["tracking_uri"] == uri
    assert run.data.params["batch_size"] == "48" and run.data.params["gpus"] == "2"
    assert run.data.tags["verified"].lower() == "true"
    client = MlflowClient(uri)
    for name in ("train_loss", "test_loss", "test_accuracy", "epoch_time_s"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.value for metric in history] == summary[name], name
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "environment.json", "summary.json", "logs"} <= artifacts


@pytest.mark.slow
def test_words_are_recorded_as_they_were_typed(ended: Ended) -> None:
    typed = shlex.split(ended.mlflow_run().data.tags["command"])
    secret, _, _ = SECRET.partition("=")
    asked = [*STRONG_JOB, "seed=1", "gpus=2", f"{secret}=***", TEXT]
    assert typed == ["python", "-m", "distlab.launch", *asked]
    config = yaml.safe_load((ended.run_dir / "config.yaml").read_text())
    assert config["framework"]["env"] == {"HF_TOKEN": "***", "NOTE": TEXT.partition("=")[2]}


@pytest.mark.slow
def test_the_logged_model_is_the_trained_one(summary: dict[str, Any]) -> None:
    mlflow.set_tracking_uri(summary["mlflow"]["tracking_uri"])
    model = mlflow.pyfunc.load_model(f"runs:/{summary['mlflow']['run_id']}/model")
    _, (images, labels) = load("mnist5k").normalized()
    right = (np.asarray(model.predict(images)).argmax(axis=1) == labels).mean()
    assert right == pytest.approx(summary["test_accuracy"][-1], abs=1e-3)


@pytest.mark.slow
def test_the_run_folder_has_the_record_and_a_log_of_each_rank(ended: Ended) -> None:
    names = {path.name for path in ended.run_dir.iterdir()}
    assert {"summary.json", "config.yaml", "environment.json", "logs"} <= names
    assert {path.name for path in (ended.run_dir / "logs").glob("rank-*")} == {
        "rank-0.log",
        "rank-1.log",
    }
    assert not (ended.run_dir / "ray").exists()


@pytest.mark.slow
def test_nothing_is_written_but_the_run_and_the_store(ended: Ended) -> None:
    assert {path.name for path in ended.folder.iterdir()} == {"outputs", "mlruns"}


@pytest.mark.slow
def test_output_is_the_announcement_the_epochs_and_the_table(ended: Ended) -> None:
    assert ended.err == ""
    assert "\x1b" not in ended.out
    lines = ended.out.splitlines()
    kinds = {
        "announcement": r"torch \(eager\) trains mlp on mnist5k, 2 epochs, on 2 CPU workers.*",
        "logs": r"logs: .*",
        "environment": r"kept from workers: .*",
        "epoch": r"epoch [12]/2 +[\d.]+ s +[\d,]+ samples/s  loss [\d.]+  accuracy [\d.]+%",
        "table": r"[┏┃┡│└].*",
        "caveat": r"caveat:  .*: not ranked",
        "record": r"(record|summary): .*",
        "mlflow": r"MLflow:  mlflow ui --backend-store-uri sqlite:.*",
    }
    found = []
    for line in lines:
        matching = [kind for kind, pattern in kinds.items() if re.fullmatch(pattern, line)]
        assert len(matching) == 1, f"a line of no known kind: {line!r}"
        if not found or found[-1] != matching[0]:
            found += matching
    # Whether other load spoiled the run.
    assert [kind for kind in kinds if kind in found] == found
    assert kinds.keys() - {*found} <= {"caveat"}
    assert sum(line.startswith("epoch") for line in lines) == 2


@pytest.mark.slow
def test_any_number_of_workers_does_the_same_mathematics(
    summary: dict[str, Any], one_and_three: Ended
) -> None:
    runs = json.loads((one_and_three.run_dir / "study.json").read_text())["runs"]
    assert sorted(run["world_size"] for run in runs) == [1, 3]
    for run in runs:
        assert run["samples_sha256"] == summary["samples_sha256"]
        assert run["weights_sha256"] == summary["weights_sha256"]
        losses, expected = np.array(run["first_losses"]), np.array(summary["first_losses"])
        error = np.abs(losses - expected) / expected
        assert error[0] <= 2e-6 and error.max() <= 1e-4, error
        assert run["evaluated_samples"] == 1000
        assert run["verified"], run["checks"]


@pytest.mark.slow
def test_more_threads_than_cores_are_a_caveat_before_and_after_the_run(
    one_and_three: Ended,
) -> None:
    study = json.loads((one_and_three.run_dir / "study.json").read_text())
    client = MlflowClient(study["tracking_uri"])
    said = one_and_three.out.splitlines()
    for run in study["runs"]:
        too_many = run["world_size"] > usable().usable
        found = [one["detail"] for one in run["caveats"] if one["code"] == "oversubscribed"]
        assert len(found) == too_many
        assert all(detail.startswith(f"{run['world_size']} thread") for detail in found)
        told = client.get_run(run["mlflow"]["run_id"]).data.tags.get("not_ranked", "")
        assert ("oversubscribed" in told) == too_many
        cell = f"torch eager mlp x{run['world_size']}"
        (line,) = (line for line in said if line.startswith("[") and cell in line)
        assert ("NOT RANKED: oversubscribed" in line) == too_many
        before = [line for line in said if line.startswith("not to be ranked") and cell in line]
        assert bool(before) == too_many


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("epoch=3",), ["epoch", "Could not override"]),
        (("epochs=three",), ["epochs", "three", "Integer"]),
        (("device=cuda",), ["device", "cuda", "auto", "cpu", "gpu"]),
        (("model=resnet",), ["model", "resnet", "lenet5", "mlp"]),
        (("epochs=0",), ["epochs=0", "count from 1"]),
        (("data=mnist", "data.dir=/nowhere/mnist"), ["/nowhere/mnist", "data=mnist5k"]),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_few_lines(
    tmp_path: Path, arguments: tuple[str, ...], told: list[str]
) -> None:
    ended = command.run(tmp_path, "framework=torch", *arguments)
    text = "\n".join(command.refused(ended))
    for word in told:
        assert word in text, f"{word!r} in {text}"
    assert ended.out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gpus=3", "batch_size=64", "scaling=strong"), ["64", "3 workers", "63 or 66"]),
        (("batch_size=5000",), ["5,000", "4,000", "batch"]),
        (
            ("model.layers=[flatten,{dense:100000000},{dense:10}]",),
            ["79,", "parameters", "weights and gradients alone take", "model=mlp"],
        ),
    ],
)
def test_a_batch_that_cannot_be_is_refused_before_anything_is_run(
    tmp_path: Path, arguments: tuple[str, ...], told: list[str]
) -> None:
    ended = command.run(tmp_path, *JOB, *arguments)
    text = "\n".join(command.refused(ended))
    for word in told:
        assert word in text, f"{word!r} in {text}"


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_restart_and_one_too_many_the_run(tmp_path: Path) -> None:
    long = ("gpus=2", "epochs=100000", "batch_size=8", "failures.max=1")
    running = Running(tmp_path, *JOB, *long)
    running.wait_for(r"^epoch +1/")
    running.worker(1).send_signal(signal.SIGKILL)
    told = r"^worker 1 on \S+ died: .*; other workers go on from epoch (\d+) \(restart 1 of"
    first = int(running.wait_for(told))
    running.wait_for(rf"^epoch +{first + 1}/")
    processes = running.processes()
    running.worker(0).send_signal(signal.SIGKILL)
    ended = running.end()
    assert ended.code not in (0, 130, -signal.SIGKILL)
    assert "Traceback" not in ended.err + ended.out
    assert "FAILED" in ended.err
    log = re.search(r"^log: +(\S+)", ended.err, re.MULTILINE)
    assert log is not None and Path(log[1]).exists()
    run = ended.mlflow_run()
    assert run.info.status == "FAILED" and run.info.end_time
    assert f"go on with: python -m distlab.launch resume={run.info.run_id}" in ended.out
    assert "time of an epoch" not in ended.out and "verified" not in ended.out
    assert alive(processes) == []


@pytest.mark.slow
def test_ctrl_c_ends_the_run_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    running = Running(tmp_path, *JOB, "gpus=2", "epochs=100000", "batch_size=8")
    running.wait_for(r"^epoch +1/")
    processes = running.processes()
    names = [process.name() for process in processes]
    assert any("raylet" in name for name in names), names
    running.interrupt()
    ended = running.end()
    assert ended.code == 130
    assert ended.err.splitlines() == ["interrupted: a run that had begun is recorded as KILLED"]
    run = ended.mlflow_run()
    assert run.info.status == "KILLED" and run.info.end_time
    assert alive(processes) == []
    assert not (ended.run_dir / "summary.json").exists()


@pytest.mark.slow
def test_help_shows_groups_and_examples_in_two_screens(tmp_path: Path) -> None:
    ended = command.run(tmp_path, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) <= 100
    for word in ("framework: ", "torch", "lenet5", "mnist5k", "existing", "gpus=4", "epochs=10"):
        assert word in ended.out, word
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_driver_imports_no_framework(one_and_three: Ended) -> None:
    """Neither for runs nor for the study and its report."""
    assert json.loads((one_and_three.folder / "frameworks.json").read_text()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_code_tells_which_signal_ended_the_command(
    tmp_path: Path, number: int, code: int
) -> None:
    ended = command.run(tmp_path, str(int(number)), command=[sys.executable, "-c", SIGNALLED])
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == "interrupted: a run that had begun is recorded as KILLED\n"


def test_a_command_that_outlives_its_terminal_is_not_ended_by_it(tmp_path: Path) -> None:
    nohup = ["nohup", sys.executable, "-c", SIGNALLED]
    ended = command.run(tmp_path, str(int(signal.SIGHUP)), command=nohup)
    assert ended.code == 0, ended.err


def test_a_secret_is_in_no_file_and_in_no_line(ended: Ended, one_and_three: Ended) -> None:
    value = SECRET.partition("=")[2].encode()
    for one in (ended, one_and_three):
        files = [path for path in one.folder.rglob("*") if path.is_file()]
        assert {"mlflow.db", "overrides.yaml", "hydra.yaml", "summary.json", "rank-0.log"} <= {
            path.name for path in files
        }
        assert not [path for path in files if value in path.read_bytes()]
        assert value.decode() not in one.out + one.err
    assert (one_and_three.folder / "mlruns").is_dir()
