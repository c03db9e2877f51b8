from typing import Any

from studies import study

from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import Comparison, compare
from distlab.report.sections.what_if.overtaking import MOST_SENTENCES, overtakings, sentences


def compared(start: dict[str, float], **options: Any) -> list[Comparison]:
    """Comparisons of a study of one worker whose frameworks take so long to their first step."""
    made = study(models=["mlp"], scalings=["weak"], world_sizes=[1], **options)
    for run in made["runs"]:
        training = sum(run["epoch_time_s"])
        run.update(group_run=0, compile_s=0.5, startup_s=start[run["framework"]])
        run["wall_s"] = run["startup_s"] + training + 3.0
    return compare(cells(made))


def test_the_faster_one_that_starts_later_is_ahead_after_what_its_epochs_save() -> None:
    later = {"torch": 4.0, "tf": 9.0, "paddle": 20.0}
    found = overtakings(compared(later, repeats=3))
    by_name = {(pair.faster.framework, pair.sooner.framework): pair for pair in found}
    # tf starts before paddle and is faster, so that nothing is to be overtaken.
    assert set(by_name) == {("tf", "torch"), ("paddle", "torch")}
    pair = by_name["tf", "torch"]
    quick, slow = pair.faster.epoch_time_s, pair.sooner.epoch_time_s
    assert quick is not None and slow is not None
    assert pair.later_s == 5.0
    assert abs(pair.saved_s - (slow.value - quick.value)) < 1e-9
    assert (pair.after - 1) * pair.saved_s < pair.later_s <= pair.after * pair.saved_s
    assert pair.sentence.startswith(
        "mlp on 1 CPU worker (weak scaling, batch 64): tf graph starts 5.0 s later than torch eager"
    )
    about = pair.after > 10 * 3
    assert (" about " in pair.sentence) == about


def test_of_what_is_not_told_apart_nothing_is_said() -> None:
    assert overtakings(compared({"torch": 4.0, "tf": 9.0, "paddle": 20.0}, repeats=1)) == []


def test_of_many_the_first_are_told_and_how_many_more_there_are() -> None:
    several = compared({"torch": 4.0, "tf": 9.0, "paddle": 20.0}, repeats=3) * MOST_SENTENCES
    said = sentences(several)
    assert len(said) == MOST_SENTENCES + 1
    assert said[-1] == "So are 6 more; report.json has them."
