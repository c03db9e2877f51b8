from typing import Any

import pytest
from studies import study, where

from distlab.measure.collectives import Fit
from distlab.report.figures.cells import cells
from distlab.report.figures.prediction.evidence import series
from distlab.report.figures.prediction.outlook import Outlook, held_out, outlook, outlooks
from distlab.report.sections import prediction

RING = Fit("ring", 50e-6, 1e-9)
SIZES = (2**10, 2**14, 2**18, 2**20, 2**22)
HOST = {"group": "g", "world_size": 2, "hosts": ["here"], "first_epoch": 1, "epochs": 3}


def told(**options: Any) -> dict[str, Any]:
    """A study of torch on an MLP whose exchange is a ring's, and which times it."""
    options = {"models": ["mlp"], "frameworks": ["torch"], "scalings": ["weak"], **options}
    made = study(noise=0.0, **options)
    for run in made["runs"]:
        size, gradient = run["world_size"], 4 * run["parameters"]
        run["stretches"] = [HOST | {"world_size": size}]
        if size == 1:
            run.update(communication_share=None, communication_share_low=None)
            continue
        run["all_reduces"] = [{"bytes": n, "seconds": [RING.seconds(size, n)] * 5} for n in SIZES]
        # The study's own exchange takes 0.5 ms for any number of workers; here it grows.
        step = run["global_batch_size"] / run["throughput_samples_per_s"]
        exchange = RING.seconds(size, gradient)
        slower = step - 0.5e-3 + exchange
        run["throughput_samples_per_s"] *= step / slower
        share = exchange / slower
        run.update(
            communication_share=share,
            communication_share_low=0.99 * share,
            communication_share_high=1.01 * share,
        )
    return made


def only(found: list[Outlook]) -> Outlook:
    (one,) = found
    return one


def test_a_ring_is_predicted_as_it_is_measured() -> None:
    one = only(held_out(cells(told(world_sizes=(1, 2, 4, 8)))))
    assert [point.workers for point in one.fitted] == [2]
    assert one.fit.alpha == pytest.approx(50e-6) and one.fit.beta == pytest.approx(1e-9)
    for row in one.predicted:
        assert row.workers in (4, 8) and row.doubt == ""
        assert row.off == pytest.approx(0, abs=0.02)
        assert row.throughput.low < row.throughput.value < row.throughput.high
        assert row.efficiency is not None and 0 < row.efficiency.value < 1


def test_all_that_was_measured_tells_the_algorithm() -> None:
    one = only(outlooks(cells(told(world_sizes=(1, 2, 4))), [8, 1024]))
    assert [point.workers for point in one.fitted] == [2, 4]
    assert (one.fit.algorithm, one.base.workers, one.base.hosts) == ("ring", 4, 1)
    assert one.fit.error < 1e-6
    eight, many = one.predicted
    assert many.exchange > eight.exchange
    # By hand: the step of 4 workers, and what a ring of 8 takes longer.
    step = 4 * 64 / one.base.throughput.value
    more = RING.seconds(8, 4 * 89_610) - RING.seconds(4, 4 * 89_610)
    assert eight.throughput.value == pytest.approx(8 * 64 / (step + more))


def test_workers_that_share_cores_are_no_evidence_but_stand_beside_it() -> None:
    crowded = told(world_sizes=(1, 2, 4), oversubscribed=where(world_size=4))
    one = only(held_out(cells(crowded)))
    (row,) = one.predicted
    assert (row.workers, row.doubt) == (4, "oversubscribed") and row.measured is not None
    assert [point.workers for point in only(outlooks(cells(crowded))).fitted] == [2]


def test_runs_of_a_noisy_machine_stand_in_and_it_is_said() -> None:
    noisy = told(noisy=where(world_size=2))
    assert only(outlooks(cells(noisy), [4])).doubted
    assert not only(outlooks(cells(told()), [4])).doubted


@pytest.mark.parametrize(("values", "why"), [
    ({"world_sizes": (1,)}, "no run with two and more workers"),
    ({"oversubscribed": where(world_size=2)}, "2 CPU workers: 5 oversubscribed"),
    ({"unverified": where(world_size=2)}, "2 CPU workers: 5 unverified: trajectory"),
])  # fmt: skip
def test_what_lacks_evidence_says_why(values: dict[str, Any], why: str) -> None:
    (one,) = series(cells(told(**values)))
    assert why in one.lacking
    assert outlook(one, [4]) is None


def test_records_of_before_are_read_and_lack_what_they_did_not_time() -> None:
    before = told()
    for run in before["runs"]:
        del run["all_reduces"], run["stretches"]
    (one,) = series(cells(before))
    assert "timed no all-reduce" in one.lacking


def test_strong_scaling_divides_the_batch_and_widens_below_the_smallest_measured() -> None:
    one = only(
        outlooks(
            cells(told(models=["lenet5"], scalings=["strong"], world_sizes=(1, 2, 4))),
            [8, 16, 48, 128],
        )
    )
    # 48 workers can't share 64 samples, and 128 have none.
    assert [row.workers for row in one.predicted] == [8, 16]
    widths = [(r.throughput.high - r.throughput.low) / r.throughput.value for r in one.predicted]
    assert widths[0] < widths[1]


def test_without_a_run_of_one_worker_there_is_no_efficiency() -> None:
    one = only(outlooks(cells(told(baselines="nowhere", world_sizes=(2, 4))), [8]))
    assert one.predicted[0].efficiency is None
    one = only(outlooks(cells(told(baselines="store", world_sizes=(2, 4))), [8]))
    assert one.predicted[0].efficiency is not None


@pytest.mark.parametrize(
    "values",
    [
        {"all_reduces": None},
        {"all_reduces": [{}]},
        {"all_reduces": [{"bytes": None, "seconds": None}]},
        {"all_reduces": [{"bytes": 10**30, "seconds": [1.0]}]},
        {"all_reduces": [{"bytes": 1024, "seconds": [0.0, 1e-320, 1e308]}]},
        {"all_reduces": [{"bytes": 1024, "seconds": [1e-9, 1e9]}]},
        {"communication_share": 1 - 1e-11},
        {"communication_share": -1e300, "communication_share_high": None},
        {"communication_share_low": -1e308, "communication_share_high": 1e308},
        {"throughput_samples_per_s": 1e-12},
        {"throughput_samples_per_s": 1e300},
        {"stretches": [{}]},
        {"stretches": []},
        {"parameters": 10**18},
    ],
    ids=str,
)
@pytest.mark.parametrize("scaling", ["weak", "strong"])
def test_a_damaged_record_makes_no_report_fail(values: dict[str, Any], scaling: str) -> None:
    damaged = told(scalings=[scaling], world_sizes=(1, 2, 4))
    for run in damaged["runs"]:
        if run["world_size"] > 1:
            run.update(values)
    found = [*outlooks(cells(damaged), [2, 8, 64]), *held_out(cells(damaged))]
    for one in found:
        assert prediction.notes(one) and prediction.fitted([one])
        for row in one.predicted:
            assert row.throughput.value > 0
    prediction.forecasts(found)
    prediction.beside(held_out(cells(damaged)))
