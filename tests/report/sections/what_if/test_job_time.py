from typing import Any

import pytest
from plotted import one_group

from distlab.report.sections.what_if.job_time import job_time, table, tables


def test_a_job_is_its_start_its_compilation_and_its_epochs() -> None:
    group, _, (cell,) = one_group(world_sizes=[1], frameworks=["torch"], repeats=1)
    (run,) = cell.runs
    time = job_time(cell)
    assert time is not None
    assert time.start + time.compile == pytest.approx(run["startup_s"])
    # The measured job is told as it was.
    assert time.seconds(run["epochs"]) == pytest.approx(run["wall_s"])
    shown = table(group)
    assert shown is not None
    assert [value.text.startswith("~") for value in shown.rows[0][2:]] == [False, False, True, True]


@pytest.mark.parametrize("unknown", ["startup_s", "compile_s"])
def test_a_job_of_unknown_parts_is_not_told(unknown: str) -> None:
    values: dict[str, Any] = {unknown: None}
    group, _, _ = one_group(world_sizes=[1], frameworks=["torch"], repeats=1, values=values)
    assert tables([group]) == []
