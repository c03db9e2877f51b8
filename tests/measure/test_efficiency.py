from typing import Any

import pytest

from distlab.measure.efficiency import scaling


def summary(world_size: int, throughput: float, **changes: Any) -> dict[str, Any]:
    return {
        "comparison_key": "k",
        "framework": "torch",
        "framework_version": "1",
        "execution": "eager",
        "world_size": world_size,
        "throughput_samples_per_s": throughput,
        "verified": True,
        "mlflow": {"run_id": f"run-of-{world_size}"},
        **changes,
    }


ONE = summary(1, 1000.0)


def test_known_answer() -> None:
    found = scaling(summary(4, 3000.0), [ONE])
    assert found is not None
    assert found.speedup == pytest.approx(3.0)
    assert found.efficiency == pytest.approx(0.75)
    assert found.baseline_run_id == "run-of-1"


def test_more_workers_may_be_slower() -> None:
    found = scaling(summary(2, 500.0), [ONE])
    assert found is not None
    assert (found.speedup, found.efficiency) == (0.5, 0.25)


def test_the_baseline_scales_perfectly_with_itself() -> None:
    found = scaling(ONE, [ONE])
    assert found is not None
    assert (found.speedup, found.efficiency) == (1.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"comparison_key": "other"},
        {"framework": "tf"},
        {"framework_version": "2"},
        {"execution": "graph"},
        {"verified": False},
        {"world_size": 2},
    ],
)
def test_nothing_is_measured_against_another_experiment(change: dict[str, Any]) -> None:
    assert scaling(summary(4, 3000.0), [{**ONE, **change}]) is None


def test_an_unverified_run_has_no_efficiency() -> None:
    assert scaling(summary(4, 3000.0, verified=False), [ONE]) is None
