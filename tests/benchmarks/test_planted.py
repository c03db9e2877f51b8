"""What the check of a real study makes of a report; the study itself takes minutes."""

from types import SimpleNamespace
from typing import Any

import planted
import pytest

from distlab.measure.statistics import Estimate


def pairs(**changed: Any) -> list[Any]:
    """A report that finds every planted difference, to 0.5 % each way."""
    names = list(planted.SLOWER)
    found = []
    for place, faster in enumerate(names):
        for slower in names[place + 1 :]:
            truth = (1 + planted.SLOWER[slower]) / (1 + planted.SLOWER[faster])
            values = {
                "ratio": Estimate(truth, truth * 0.995, truth * 1.005, 5),
                "told": truth > 1.005,
                **changed.get(f"{faster} {slower}", {}),
            }
            cells = {
                "faster": SimpleNamespace(framework=faster),
                "slower": SimpleNamespace(framework=slower),
            }
            found.append(SimpleNamespace(**cells, **values))
    return found


def test_a_right_report_has_no_faults() -> None:
    assert planted.faults(pairs()) == []


@pytest.mark.parametrize(
    ("pair", "change", "fault"),
    [
        ("torch planted:Twin", {"told": True}, "is told, and the truth is 1.000"),
        ("torch planted:Slower10", {"told": False}, "is not told, and the truth is 1.100"),
    ],
)
def test_a_wrong_claim_is_a_fault(pair: str, change: dict[str, Any], fault: str) -> None:
    (found,) = planted.faults(pairs(**{pair: change}))
    assert fault in found


def test_one_interval_may_miss_and_two_may_not() -> None:
    off = {"ratio": Estimate(1.2, 1.15, 1.25, 5)}
    one = {"torch planted:Slower2": off}
    assert planted.faults(pairs(**one)) == []
    two = {**one, "torch planted:Slower5": off}
    assert len(planted.faults(pairs(**two))) == 2


def test_pairs_that_are_not_ranked_are_a_fault() -> None:
    assert "only 9 of 10 pairs" in planted.faults(pairs()[1:])[0]
