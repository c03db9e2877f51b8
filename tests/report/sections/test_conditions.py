import pytest
from studies import study, together

from distlab.report.figures.cells import cells
from distlab.report.sections.conditions import (
    citation,
    conditions,
    duration,
    requirements,
    scope,
    took,
)


def told(**options: object) -> dict[str, str]:
    found = study(**options)  # type: ignore[arg-type]
    return {
        f"{heading}: {name}": value
        for heading, facts in conditions(found, cells(found)).items()
        for name, value in facts
    }


def test_every_condition_is_named() -> None:
    found = told()
    assert found["Study: command"].startswith("python -m distlab.launch -m")
    assert found["Study: git commit"] == "0123456789abcdef0123456789abcdef01234567"
    assert found["Study: runs"] == "120 finished, 0 failed"
    assert found["Machine: processor"] == "AMD EPYC 7B13"
    assert found["Machine: memory"] == found["Machine: virtual machine"] == "not known"
    assert found["Machine: threads a worker"] == "1"
    assert found["Machine: matrix product"] == (
        "192 GFLOP/s in float32 with 1 worker of 1 thread (runs measured 192 to 192); "
        "384 GFLOP/s in float32 with 2 workers of 1 thread (runs measured 384 to 384)"
    )
    assert found["Machine: energy"] == "not measured"
    assert found["Work: images"] == "28 x 28 pixels, 1 channel"
    assert found["Work: an epoch"] == "59,968, 59,904 samples"
    assert found["Software: tf"] == "2.21.0"
    assert found["Software: ray"] == "2.60.0"
    assert found["Work: models"] == "mlp (89,610 parameters), lenet5 (61,706 parameters)"
    assert found["Work: batch"] == "64 a worker (weak scaling), 64 in all (strong scaling)"
    assert found["Work: seeds"].startswith("0 to 4 ")
    assert found["Work: optimizer"] == "Adam (reference), learning rate 0.001"


def test_a_condition_that_differs_between_runs_shows_all_its_values() -> None:
    found = study(models=["mlp"])
    found["runs"][0]["framework_version"] = "2.12.0"
    facts = dict(conditions(found, cells(found))["Software"])
    assert facts["torch"] == "2.12.0, 2.13.0"


def test_energy_is_told_for_each_cell_with_its_meter() -> None:
    found = study(models=["mlp"], scalings=["weak"], world_sizes=[1])
    found["runs"] = [run for run in found["runs"] if run["framework"] == "tf"][:3]
    for run, joule in zip(found["runs"], (0.002, 0.004, 0.003), strict=True):
        run.update(energy_j_per_sample=joule, energy_meter="RAPL", execution="graph")
    facts = dict(conditions(found, cells(found))["Machine"])
    assert facts["energy"] == "3 mJ a sample: tf graph mlp, 1 worker (RAPL)"


def test_frameworks_on_different_gpus_are_told() -> None:
    found = study(models=["mlp"], scalings=["weak"], world_sizes=[1])
    for run in found["runs"]:
        run.update(device="gpu", device_name="Abacus", gpus=[{"uuid": "GPU-1", "driver": "580.1"}])
    facts = dict(conditions(found, cells(found))["Machine"])
    assert (facts["which GPUs"], facts["NVIDIA driver"]) == ("GPU-1", "580.1")
    found["runs"][0]["gpus"] = [{"uuid": "GPU-2", "driver": "580.1"}]
    told = dict(conditions(found, cells(found))["Machine"])["which GPUs"]
    assert told.startswith("not the same for all: ") and "GPU-1, GPU-2" in told


def test_of_many_values_of_a_condition_the_ends_are_told() -> None:
    batches = range(8, 72, 8)
    found = together(*(study(models=["mlp"], scalings=["weak"], batch_size=b) for b in batches))
    assert "batch 8 a worker to 64 a worker (8 values), " in scope(found, cells(found))


def test_what_a_study_took_is_told_with_its_share_of_training() -> None:
    found = study(models=["mlp"], scalings=["weak"], world_sizes=[1])
    training = sum(sum(run["epoch_time_s"]) for run in found["runs"])
    found["wall_s"] = 4 * training
    assert "(25%) was training" in took(found)
    assert took(found).startswith("15 runs in ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_a_duration_is_told_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_study_that_knows_little_of_itself_still_has_its_conditions() -> None:
    bare = {"study": "0" * 32, "runs": []}
    facts = conditions(bare, [])
    assert dict(facts["Study"])["finished"] == "not finished"
    assert "not known" in dict(facts["Machine"])["processor"]
    assert requirements(bare) == ""


def test_all_packages_are_told_as_pip_reads_them() -> None:
    text = requirements(study(repeats=1))
    assert text.splitlines()[:2] == ["mlflow==3.17.0", "numpy==2.3.1"]


def test_a_reader_elsewhere_gets_addresses_and_no_path_of_the_machine() -> None:
    made = study(models=["mlp"], scalings=["weak"], repeats=1)
    facts = dict(conditions(made, cells(made))["Study"])
    assert "/there" not in facts["records"] and "runs.csv" in facts["records"]
    made["tracking_uri"] = "https://tracker.example"
    made["environment"]["repository"] = "https://code.example/a/distlab"
    facts = dict(conditions(made, cells(made))["Study"])
    assert facts["records"].startswith("https://tracker.example; ")
    assert facts["git commit"] == f"https://code.example/a/distlab/commit/{made['git_commit']}"


def test_the_scope_says_what_the_answer_is_for_and_what_it_is_not_for() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1)
    assert scope(told, cells(told)) == (
        "For mlp on mnist (28 x 28 pixels), batch 64 a worker, 3 epochs, on AMD EPYC 7B13, 1 "
        "thread a worker. It says nothing of GPUs, other models, larger images or other machines."
    )
    assert scope(study(models=["mlp"], failed=lambda run: True, repeats=1), []) == ""


def test_a_study_is_cited_by_its_id_day_and_code_and_its_name_is_no_markup() -> None:
    told = study(models=["mlp"], scalings=["weak"], repeats=1)
    told["name"] = "study of {x}: \\input{y}"
    entry = citation(told)
    assert entry.startswith(f"@misc{{distlab-{told['study'][:8]},")
    assert "title = {study of x: inputy}" in entry
    assert "distlab 0.1.0, commit 0123456789ab" in entry and "2026-03-02" in entry


def test_seeds_far_apart_are_told_one_by_one_and_take_no_memory() -> None:
    made = study(models=["mlp"], scalings=["weak"], repeats=3)

    def told() -> str:
        return next(
            text
            for facts in conditions(made, cells(made)).values()
            for name, text in facts
            if name == "seeds"
        )

    seeds = sorted({run["run_seed"] for run in made["runs"]})
    assert told().startswith(f"{seeds[0]} to {seeds[-1]} ")
    for run in made["runs"]:
        if run["run_seed"] == seeds[-1]:
            run["run_seed"] = 2**62
    assert told().startswith(f"{seeds[0]}, {seeds[1]}, {2**62} ")
