from typing import Any

import pytest

from distlab.measure.efficiency import (
    baselines,
    communication_share,
    model_flop_utilisation,
    scaling,
)


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


def of_repeats(world_size: int, throughputs: list[float], **changes: Any) -> list[dict[str, Any]]:
    return [
        summary(
            world_size,
            throughput,
            repeat=k,
            mlflow={"run_id": f"{world_size} workers, repeat {k}"},
            **changes,
        )
        for k, throughput in enumerate(throughputs)
    ]


def test_the_baseline_is_of_the_same_repeat() -> None:
    ones = of_repeats(1, [1000.0, 800.0, 500.0])
    twos = of_repeats(2, [1800.0, 1440.0, 900.0])
    for order in (ones, ones[::-1]):
        for k, run in enumerate(twos):
            found = scaling(run, order)
            assert found is not None
            assert found.baseline_run_id == f"1 workers, repeat {k}"
            assert found.speedup == pytest.approx(1.8)
            assert found.efficiency == pytest.approx(0.9)


def test_the_first_baseline_stands_in_for_a_missing_repeat() -> None:
    found = scaling(of_repeats(2, [1.0, 1.0, 1200.0])[2], of_repeats(1, [1000.0, 800.0]))
    assert found is not None
    assert (found.speedup, found.baseline_run_id) == (1.2, "1 workers, repeat 0")


def test_an_unverified_baseline_is_passed_over() -> None:
    ones = of_repeats(1, [1000.0, 800.0])
    ones[1]["verified"] = False
    found = scaling(of_repeats(2, [1.0, 1500.0])[1], ones)
    assert found is not None
    assert found.baseline_run_id == "1 workers, repeat 0"


def test_runs_without_a_repeat_are_repeat_0() -> None:
    found = scaling(summary(2, 900.0), of_repeats(1, [100.0, 200.0])[::-1])
    assert found is not None
    assert found.speedup == 9.0
    found = scaling(summary(2, 900.0, repeat=0), [*of_repeats(1, [1.0, 2.0])[1:], ONE])
    assert found is not None
    assert found.speedup == 0.9


def test_model_flop_utilisation_by_hand() -> None:
    # 0.5 MFLOP a sample at 100,000 samples/s is 50 GFLOP/s, of 200 measured.
    assert model_flop_utilisation(500_000, 100_000.0, 200e9) == 0.25
    with pytest.raises(ValueError, match="flops_per_second is 0"):
        model_flop_utilisation(500_000, 100_000.0, 0.0)


def test_communication_share_by_hand() -> None:
    assert communication_share(4.0, 3.0) == 0.25
    assert communication_share(4.0, 4.0) == 0.0
    assert communication_share(4.0, 5.0) == -0.25  # noise, as it is
    with pytest.raises(ValueError, match="seconds_with is 0"):
        communication_share(0.0, 1.0)


def test_a_series_says_what_a_run_is_measured_against() -> None:
    two = summary(2, 3600.0, series="quick")
    plain, quick = summary(1, 1000.0, series="plain"), summary(1, 2000.0, series="quick")
    assert baselines(two, [plain, quick]) == [quick]
    assert baselines(two, [plain]) == []
    assert baselines(two, [ONE]) == [ONE]  # recorded without a series
    assert baselines(two, [ONE, quick]) == [quick]
    found = scaling(two, [plain, quick])
    assert found is not None and found.efficiency == pytest.approx(0.9)


def test_without_a_series_several_cells_are_a_baseline_of_none() -> None:
    cells = [{**ONE, "cell": name} for name in "ab"]
    assert baselines(summary(2, 1800.0), cells) == []
    assert baselines(summary(2, 1800.0), cells[:1]) == cells[:1]
