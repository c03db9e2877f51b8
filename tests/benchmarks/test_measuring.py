import json
from argparse import Namespace
from pathlib import Path

import measuring
import pytest
import study_cost
from measuring import Cell, Timing


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "busy_cores", lambda: 0.0)


def test_contenders_take_turns_and_every_second_repeat_is_reversed() -> None:
    order: list[str] = []

    def contender(name: str) -> Timing:
        order.append(name)
        return Timing(10, [1.0], {})

    cells = [
        Cell({"cell": cell}, {name: lambda n=f"{name}{cell}": contender(n) for name in "ab"})
        for cell in (1, 2)
    ]
    measuring.interleave(cells, 2, lambda busy: None)
    assert order == ["a1", "b1", "a2", "b2", "b1", "a1", "b2", "a2"]


def test_a_ratio_is_of_pairs_and_of_median_epochs() -> None:
    # The machine is half as fast in the second repeat: both contenders are, their ratio is not.
    speeds = iter([100, 200, 100, 50])
    epochs = [1.0, 1.0, 9.0]

    def run() -> Timing:
        return Timing(next(speeds), epochs, {})

    cell = Cell({"cell": 1}, {"peer": run, "ours": run})
    measuring.interleave([cell], 2, lambda busy: None)
    assert cell.rates("ours") == [200.0, 100.0]
    assert cell.rates("peer") == [100.0, 50.0]
    assert cell.ratios("ours") == [2.0, 2.0]


def test_a_failed_run_has_no_ratio_and_the_command_fails(tmp_path: Path) -> None:
    answers = iter([Timing(10, [1.0], {}), RuntimeError("broken"), Timing(10, [0.5], {})])

    def ours() -> Timing:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    cell = Cell({"cell": 1}, {"peer": lambda: Timing(10, [1.0], {}), "ours": ours}, reach=1.2)
    options = Namespace(repeats=3, output=tmp_path / "deep" / "x.json")
    with pytest.raises(SystemExit):
        measuring.measure("x", "title", [cell], options)
    assert cell.ratios("ours") == [1.0, 2.0]
    (written,) = json.loads(options.output.read_text())["results"]
    assert written["errors"] == ["ours: broken"]
    assert written["ratios"] == {"ours": [1.0, 2.0]}


def test_executions_are_pairs() -> None:
    assert measuring.pairs("torch=graph,tf=eager") == [("torch", "graph"), ("tf", "eager")]


def test_the_cost_of_a_study_is_wall_time_over_windows() -> None:
    run = {"framework": "torch", "model": "mlp", "world_size": 1, "startup_split_s": {"ray": 4.0}}
    study = {
        "runs": [{**run, "epoch_time_s": [1.0, 2.0]}, {**run, "epoch_time_s": [3.0, 4.0]}],
        "failed": [],
    }
    cost = study_cost.cost(study, 25.0)
    assert cost["ratio"] == 2.5
    assert cost["causes_s"] == {"ray": 8.0, "other": 7.0}
