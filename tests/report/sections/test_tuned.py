from studies import study

from distlab.report.figures.cells import cells
from distlab.report.sections.tuned import tuned


def test_what_was_set_is_told_from_the_records_of_each_framework() -> None:
    made = study(models=["mlp"], scalings=["weak"], repeats=1, frameworks=["torch", "paddle"])
    for run in made["runs"]:
        several = ["one all-reduce"] if run["world_size"] > 1 else []
        if run["framework"] == "paddle":
            run["resources"]["tuned"] = ["fast instructions", *several]
            run["options"] |= {
                "framework.env.MKL_DEBUG_CPU_TYPE": "auto",
                "framework.env.GLOG_minloglevel": "2",
            }
    table = tuned(cells(made))
    assert table is not None
    rows = {row[0].text: row for row in table.rows}
    assert rows["paddle eager"][2].text == "fast instructions; one all-reduce"
    assert rows["paddle eager"][3].text == "MKL_DEBUG_CPU_TYPE=auto"
    assert rows["torch eager"][2].text == "not recorded"
    assert rows["torch eager"][1].text == "2.13.0"
    assert rows["torch eager"][1].qualified.count(" was the latest; on 20") == 1


def test_of_a_framework_without_known_releases_the_version_alone_is_told() -> None:
    made = study(models=["mlp"], scalings=["weak"], repeats=1, frameworks=["torch"])
    for run in made["runs"]:
        run["framework"] = "other"
    table = tuned(cells(made))
    assert table is not None and table.rows[0][1].detail == ""


def test_without_a_finished_run_there_is_nothing_to_tell() -> None:
    assert tuned(cells(study(models=["mlp"], repeats=1, failed=lambda run: True))) is None
