from typing import Any

import pytest
from studies import classroom as made
from studies import study, where

from distlab.report.figures.cells import cells
from distlab.report.figures.comparisons import compare
from distlab.report.sections.classroom.then_and_now import Classroom, classroom


def found(data: dict[str, Any]) -> Classroom:
    every = cells(data)
    result = classroom(data, every, compare(every))
    assert result is not None
    return result


def of_times(model: str, **seconds: float) -> dict[str, Any]:
    """A classroom study whose runs took the given mean seconds, and whole runs 5 s more."""
    data = made(model)
    for run in data["runs"]:
        overall = seconds[run["framework"]] * (1 + 0.001 * (run["repeat"] - 4.5))
        run.update(
            epoch_time_s=[overall / 10] * 10,
            throughput_samples_per_s=600_000 / overall,
            wall_s=overall + 5,
        )
    return data


def test_only_a_classroom_study_has_one() -> None:
    plain = study(repeats=3)
    every = cells(plain)
    assert classroom(plain, every, compare(every)) is None
    assert classroom({**plain, "experiment": "quickstart"}, every, compare(every)) is None


def test_published_means_stand_beside_ours() -> None:
    result = found(of_times("mlp", torch=10.0, tf=12.0, paddle=15.0))
    assert [(e.name, e.then_s) for e in result.entries] == [
        ("PyTorch", 74.0),
        ("TensorFlow", 87.0),
        ("Paddle", 110.0),
    ]
    assert [e.now_s for e in result.entries] == pytest.approx([10.0, 12.0, 15.0])
    assert [e.whole_s for e in result.entries] == pytest.approx([15.0, 17.0, 20.0])
    assert [e.runs for e in result.entries] == [10, 10, 10]
    # The deviations -4.5, ..., 4.5 per mille have variance 82.5 / 9.
    assert result.entries[0].now_sd_s == pytest.approx(10 * 0.001 * (82.5 / 9) ** 0.5)


def test_published_means_of_lenet5() -> None:
    result = found(of_times("lenet5", torch=10.0, tf=12.0, paddle=15.0))
    assert {e.name: e.then_s for e in result.entries} == {
        "PyTorch": 120.0,
        "TensorFlow": 143.0,
        "Paddle": 252.0,
    }
    assert "V100" in result.then_device


def test_an_order_that_is_kept() -> None:
    result = found(of_times("mlp", torch=10.0, tf=12.0, paddle=15.0))
    assert result.kept is True
    assert (
        "The published order, from fast to slow, is kept: PyTorch, TensorFlow, Paddle."
        in result.sentences
    )


def test_an_order_that_is_not_kept() -> None:
    result = found(of_times("mlp", torch=15.0, tf=10.0, paddle=12.0))
    assert result.kept is False
    assert result.order_now == ["TensorFlow", "Paddle", "PyTorch"]
    assert (
        "The published order, from fast to slow, is not kept: PyTorch, TensorFlow, Paddle then, "
        "TensorFlow, Paddle, PyTorch now." in result.sentences
    )


def test_ratios_then_and_now() -> None:
    result = found(of_times("mlp", torch=10.0, tf=8.0, paddle=20.0))
    ratios = {(r.slower, r.faster): r for r in result.ratios}
    assert len(ratios) == 3
    paddle = ratios["Paddle", "PyTorch"]
    assert paddle.then == pytest.approx(110 / 74)
    assert paddle.now is not None and paddle.now.value == pytest.approx(2.0)
    turned = ratios["TensorFlow", "PyTorch"]
    assert turned.then == pytest.approx(87 / 74)
    assert turned.now is not None and turned.now.value == pytest.approx(0.8)
    assert ratios["Paddle", "TensorFlow"].then == pytest.approx(110 / 87)
    assert any(
        "TensorFlow took 1.18 times as long as PyTorch then, and 0.80 times as long now" in said
        for said in result.sentences
    )


def test_the_hardware_is_said_to_differ_and_ours_is_named() -> None:
    result = found(made("mlp"))
    assert result.now_device == "AMD EPYC 7B13"
    assert "a CPU then, AMD EPYC 7B13 now" in result.sentences[0]
    assert "no seconds" in result.sentences[0]


def test_a_framework_without_counted_runs_is_named_and_open() -> None:
    data = made("mlp", unverified=where(framework="tf"))
    result = found(data)
    assert result.kept is None
    entry = next(e for e in result.entries if e.name == "TensorFlow")
    assert (entry.now_s, entry.whole_s, entry.runs) == (None, None, 0)
    assert [r.now is None for r in result.ratios] == [True, False, True]
    assert any("TensorFlow has no figure: of its 10 repeats" in said for said in result.sentences)
    assert any("Ours is incomplete; ours so far:" in said for said in result.sentences)


def test_a_framework_that_is_not_in_the_study_is_named() -> None:
    result = found(made("mlp", frameworks=("torch", "paddle")))
    assert "TensorFlow has no fp32 run with one worker in this study." in result.sentences
    assert result.kept is None


def test_a_difference_that_cannot_be_told_leaves_the_order_open() -> None:
    data = of_times("mlp", torch=10.0, tf=10.0, paddle=15.0)
    result = found(data)
    assert result.kept is None
    assert any("neither kept nor refuted: PyTorch, Tens" in said for said in result.sentences)
    assert any("no difference can be told now)" in said for said in result.sentences)


def test_fewer_runs_than_published_are_said() -> None:
    result = found(made("mlp", repeats=2))
    assert any("too few for an interval" in said for said in result.sentences)
    assert any("PyTorch's mean is of 2 of our runs" in said for said in result.sentences)


def test_a_run_of_another_precision_stands_for_no_published_one() -> None:
    result = found(made("mlp", precision="bf16"))
    assert "PyTorch has no fp32 run with one worker in this study." in result.sentences
    assert result.order_now == []


def test_runs_that_were_stopped_are_no_ten_epochs_of_the_classroom() -> None:
    data = of_times("mlp", torch=10.0, tf=12.0, paddle=15.0)
    for run in data["runs"]:
        run["stopped"] = "seconds"
    assert [entry.now_s for entry in found(data).entries] == [None, None, None]
