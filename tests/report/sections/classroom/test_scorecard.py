import re
from datetime import date

import pytest
from omegaconf import OmegaConf
from studies import study, where

from distlab.report.contents import contents
from distlab.report.figures.cell import Cell
from distlab.report.figures.cells import cells
from distlab.report.figures.code_lines import count, tutorial
from distlab.report.figures.comparisons import compare
from distlab.report.sections.classroom import scorecard as module
from distlab.report.sections.classroom.scorecard import (
    UNKNOWN,
    Score,
    cadence,
    relative_speeds,
    scorecard,
)


def of(found: list[Cell]) -> list[Score]:
    return scorecard(found, compare(found))


def ratios_of(found: list[Cell]) -> dict[str, list[float]]:
    speeds = relative_speeds(found, compare(found))
    return {name: [ratio for ratio, _ in speed] for name, speed in speeds.items()}


def still(**values):
    """A study without noise: every run of a cell has the same throughput."""
    return study(repeats=3, noise=0.0, **values)


def test_the_fastest_framework_of_each_condition_is_one() -> None:
    found = cells(still(models=["mlp"], scalings=["weak"], world_sizes=[1]))
    measured = {cell.framework: cell.throughput.value for cell in found}
    best = max(measured.values())
    scores = {score.framework: score for score in of(found)}
    assert list(scores) == ["torch", "tf", "paddle"]
    for framework, score in scores.items():
        assert score.relative_speed == pytest.approx(measured[framework] / best)
        assert score.conditions == 1
    assert max(score.relative_speed for score in scores.values()) == 1


def test_conditions_are_averaged_geometrically() -> None:
    found = cells(still(frameworks=["torch", "tf"], scalings=["weak"], world_sizes=[1]))
    ratios = ratios_of(found)
    # studies.RATES: mlp 108 and 175, lenet5 12.3 and 17.9 thousand samples/s
    assert ratios["torch"] == pytest.approx([108 / 175, 12.3 / 17.9], rel=1e-2)
    assert ratios["tf"] == [1, 1]
    torch = of(found)[0]
    assert torch.relative_speed == pytest.approx((ratios["torch"][0] * ratios["torch"][1]) ** 0.5)
    assert torch.conditions == 2


def test_what_is_not_ranked_has_no_speed_and_makes_nobody_slower() -> None:
    everything = still(models=["mlp"], scalings=["weak"], world_sizes=[1])
    without = still(
        models=["mlp"], scalings=["weak"], world_sizes=[1], unverified=where(framework="tf")
    )
    ratios = ratios_of(cells(without))
    assert set(ratios) == {"torch", "paddle"}
    assert max(ratios["torch"][0], ratios["paddle"][0]) == 1
    assert ratios_of(cells(everything))["torch"][0] < 1
    scores = {score.framework: score for score in of(cells(without))}
    assert scores["tf"].relative_speed is None
    assert scores["tf"].conditions == 0
    assert scores["tf"].code_lines


def test_a_framework_by_itself_is_compared_with_nobody() -> None:
    found = cells(still(frameworks=["torch"]))
    assert ratios_of(found) == {}
    assert of(found)[0].relative_speed is None


def test_a_framework_is_taken_at_its_fastest_execution() -> None:
    slow = still(models=["mlp"], scalings=["weak"], world_sizes=[1], frameworks=["torch", "tf"])
    for run in [run for run in slow["runs"] if run["framework"] == "torch"]:
        copy = dict(run, execution="graph", cell="graph")
        copy["throughput_samples_per_s"] = run["throughput_samples_per_s"] * 1.25
        slow["runs"].append(copy)
    found = cells(slow)
    assert len(found) == 3
    eager = next(c for c in found if c.framework == "torch" and c.execution == "eager")
    tf = next(c for c in found if c.framework == "tf")
    ratios = ratios_of(found)
    assert ratios["torch"] == pytest.approx([1.25 * eager.throughput.value / tf.throughput.value])


def test_code_lines_are_those_of_the_source_now() -> None:
    for score in of(cells(still(models=["mlp"], scalings=["weak"], world_sizes=[1]))):
        sources = tutorial(score.framework)
        assert list(score.scripts) == list(sources)
        assert score.code_lines == sum(count(text) for text in sources.values()) > 30


def test_cadence_counts_releases_and_the_median_of_their_intervals() -> None:
    releases = {"1.10.0": "2026-04-01", "1.9.0": "2026-02-01", "1.8.0": "2026-01-01"}
    assert cadence(releases, "2026-01-01", "2026-12-31") == (
        "3 feature releases from 2026-01-01 to 2026-12-31, median interval 45 days "
        "(1.8.0 to 1.10.0; the last on 2026-04-01)"
    )
    assert cadence({"1.8.0": "2026-01-01"}, "2026-01-01", "2026-12-31") == (
        "1 feature release from 2026-01-01 to 2026-12-31 (1.8.0; the last on 2026-01-01)"
    )
    assert cadence({}, "2026-01-01", "2026-12-31").startswith("0 feature releases from")


@pytest.mark.parametrize(
    ("framework", "licence", "governance"),
    [
        ("torch", "BSD-3-Clause", "Linux Foundation (2022-09-12)"),
        ("tf", "Apache-2.0", "Google"),
        ("paddle", "Apache-2.0", "Baidu"),
    ],
)
def test_facts_are_told_with_dates_and_sources(
    framework: str, licence: str, governance: str
) -> None:
    found = of(cells(still(models=["mlp"], scalings=["weak"], world_sizes=[1])))
    score = next(score for score in found if score.framework == framework)
    assert licence in score.licence
    assert governance in score.governance
    assert "median interval" in score.release_cadence
    assert date.fromisoformat(str(score.as_of))
    assert any(re.fullmatch(r"https://pypi\.org/project/\w+/#history", s) for s in score.sources)
    assert len(score.sources) == len(set(score.sources)) >= 3


def test_every_fact_has_a_source_and_a_date() -> None:
    recorded = OmegaConf.to_container(OmegaConf.load(module._FACTS))
    first, last = recorded["cadence"]["from"], recorded["cadence"]["to"]
    for facts in recorded["frameworks"].values():
        for fact in (*facts["licence"], *facts["governance"]):
            assert fact["statement"].endswith(".")
            assert fact["source"].startswith("https://")
            undated_at_a_commit = fact["as_of"] == "undated" and re.search(
                r"/blob/[0-9a-f]{40}/", fact["source"]
            )
            assert undated_at_a_commit or date.fromisoformat(fact["as_of"])
        for version, day in facts["releases"].items():
            assert re.fullmatch(r"\d+\.\d+\.0", version)
            assert first < day <= last


def test_a_framework_without_facts_says_so() -> None:
    data = still(models=["mlp"], scalings=["weak"], world_sizes=[1], frameworks=["torch", "tf"])
    for run in data["runs"]:
        if run["framework"] == "tf":
            run["framework"] = "nowhere:Backend"
    score = of(cells(data))[1]
    assert (score.framework, score.licence, score.as_of) == ("nowhere:Backend", UNKNOWN, None)
    assert (score.governance, score.release_cadence, score.sources) == (UNKNOWN, UNKNOWN, [])
    assert (score.code_lines, score.scripts) == (None, {})
    assert score.relative_speed == 1


def test_equals_are_not_ranked_by_chance() -> None:
    equal = {"torch": 108 / 175, "paddle": 120 / 175}
    data = study(models=["mlp"], scalings=["weak"], world_sizes=[1], slower=equal, noise=0.02)
    found = cells(data)
    assert not any(pair.told for pair in compare(found))
    assert {score.relative_speed for score in of(found)} == {None}
    assert {score.conditions for score in of(found)} == {1}
    speed = contents(data, found, []).scorecard
    assert speed is not None
    assert [value.text for value in speed.tables[0].rows[1][1:]] == ["not told apart"] * 3


def test_one_that_is_not_told_from_the_fastest_counts_as_fast() -> None:
    data = study(models=["mlp"], scalings=["weak"], world_sizes=[1], slower={"tf": 175 / 120})
    speeds = {score.framework: score.relative_speed for score in of(cells(data))}
    assert sorted(map(str, speeds.values()))[1:] == ["1.0", "None"]
    assert speeds["torch"] == pytest.approx(0.9, abs=0.02)
