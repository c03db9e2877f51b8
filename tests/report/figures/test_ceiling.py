import pytest
from studies import study

from distlab.report.figures.ceiling import ceilings, place
from distlab.report.figures.cells import cells

ONE = {"models": ["mlp"], "scalings": ["weak"], "world_sizes": [1]}


def test_frameworks_are_held_against_one_rate_of_their_machine() -> None:
    made = study(repeats=3, **ONE)
    rates = {"torch": [154e9, 160e9, 175e9], "tf": [90e9, 100e9, 110e9], "paddle": [150e9] * 3}
    for run in made["runs"]:
        run["matrix_product_flops_per_s"] = rates[run["framework"]][run["repeat"]]
    (limit,) = ceilings(made["runs"]).values()
    assert (limit.flops_per_s, limit.low, limit.high, limit.runs) == (160e9, 90e9, 175e9, 9)
    torch, tf, _ = cells(made)
    assert torch.throughput and torch.model_flop_utilisation and tf.throughput
    assert torch.model_flop_utilisation.value == pytest.approx(
        torch.throughput.value * 537_660 / 160e9
    )
    assert tf.model_flop_utilisation
    by_use = tf.model_flop_utilisation.value / torch.model_flop_utilisation.value
    assert by_use == pytest.approx(tf.throughput.value / torch.throughput.value)


def test_other_threads_devices_and_precisions_have_rates_of_their_own() -> None:
    run = study(repeats=1, **ONE)["runs"][0]
    others = [{"threads_per_worker": 2}, {"device_name": "B"}, {"precision": "tf32"}]
    assert len({place(run), *(place({**run, **other}) for other in others)}) == 4


def test_without_a_measurement_there_is_no_rate() -> None:
    made = study(repeats=1, values={"matrix_product_flops_per_s": None}, **ONE)
    assert ceilings(made["runs"]) == {}
    assert cells(made)[0].model_flop_utilisation is None
