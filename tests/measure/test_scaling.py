"""The model of more workers: its arithmetic, and what it says of published measurements.

Published are throughputs of 1 to 32 V100 on up to four hosts with 100 Gb/s InfiniBand, weak
scaling, float32, in images or sentences a second: DLPerf, Benchmark Test Report V1.0 (Oneflow-Inc,
August 2020), and PaddlePaddle/Perf, ResNet50V1.5 and Bert (Paddle 2.1 and 2.4).
docs/prediction.md has the table.
"""

import pytest

from distlab.measure.collectives import ALGORITHMS, Fit
from distlab.measure.scaling import NONE, Base, Range, computing, step

RING = Fit("ring", 100e-6, 1e-9)
DLPERF = {
    ("ResNet-50", "PyTorch"): {1: 354.40, 8: 2719.07, 16: 5307.21, 32: 10632.33},
    ("ResNet-50", "Paddle"): {1: 352.72, 8: 2625.38, 16: 4895.27, 32: 9348.17},
    ("ResNet-50", "TensorFlow 2"): {1: 321.80, 8: 2458.74, 16: 4849.68, 32: 9418.44},
    ("ResNet-50", "TensorFlow 1"): {1: 362.44, 8: 2721.98, 16: 5099.42, 32: 9514.64},
    ("ResNet-50", "MXNet"): {1: 389.71, 8: 2947.72, 16: 5684.68, 32: 10419.21},
    ("BERT, batch 96", "Paddle"): {1: 136.97, 8: 868.60, 16: 1631.36, 32: 3167.68},
    ("BERT, batch 32", "Paddle"): {1: 132.64, 8: 615.12, 16: 1116.02, 32: 2073.60},
    ("BERT, batch 32", "TensorFlow 1"): {1: 106.80, 8: 806.56, 16: 1090.20, 32: 1923.68},
    ("BERT, batch 32", "MXNet"): {1: 127.05, 8: 928.03, 16: 1136.44, 32: 1895.50},
}
PERF = {
    ("ResNet-50", "Paddle"): {1: 377.21, 8: 2906.887, 32: 11366.6},
    ("ResNet-50", "PyTorch"): {1: 369.63, 8: 2795.87, 32: 10393.2},
    ("ResNet-50", "TensorFlow 1"): {1: 407.7, 8: 3070.5, 32: 11622.9},
    ("BERT, batch 96", "Paddle"): {1: 166.407, 8: 1329.233, 32: 4829.904},
    ("BERT, batch 96", "PyTorch"): {1: 158.642, 8: 1233.15, 32: 3496.94},
}
UNREPEATED = 0.05
"""What a published throughput is taken to be known to."""


def base(workers: int = 2, alone: float | None = None, told: float = 0.9) -> Base:
    """A step of 10 ms, of which the exchange costs 2 ms."""
    return Base(
        workers, Range(10e-3, 9.5e-3, 10.5e-3), Range(2e-3, told * 2e-3, 2.2e-3), 10**6, alone
    )


def test_the_step_that_was_measured_is_predicted_as_it_was() -> None:
    found = step(base(), [RING], 2)
    assert found.seconds == base().seconds
    assert found.exchange == pytest.approx(0.2)


def test_what_is_added_is_the_growth_of_the_all_reduce() -> None:
    # From 2 to 8 workers: 14 latencies for 2, and 14/8 of the array for once.
    measured, more = 2 * 100e-6 + 1e-3, 14 * 100e-6 + 14 / 8 * 1e-3
    assert RING.seconds(2, 10**6) == pytest.approx(measured)
    found = step(base(alone=measured), [RING], 8)
    # Nothing of it hidden: it was exposed before. Or in proportion to the exposed 2 ms.
    assert found.seconds.value == pytest.approx(10e-3 + more - measured)
    assert found.seconds.low == pytest.approx(0.95 * (10e-3 + more - measured))
    assert found.seconds.high == pytest.approx(1.05 * (10e-3 + 2.2e-3 * (more / measured - 1)))
    assert found.exchange == pytest.approx((2e-3 + more - measured) / found.seconds.value)


def test_what_is_added_is_as_far_off_as_the_fit() -> None:
    off = Fit("ring", 100e-6, 1e-9, 0.5)
    sure, unsure = (step(base(), [one], 8) for one in (RING, off))
    assert unsure.seconds.value == sure.seconds.value
    assert unsure.seconds.low < sure.seconds.low and unsure.seconds.high > sure.seconds.high


def test_an_exchange_that_is_not_told_from_0_hides_what_is_added_until_it_is_not() -> None:
    found = step(Base(2, Range(1.0, 1.0, 1.0), Range(0.0, -0.01, 0.01), 10**6, 0.1), [RING], 8)
    assert found.seconds.value == 1.0
    assert found.seconds.high > 1.15 and found.exchange == 0


def test_what_the_measurements_leave_open_widens_with_the_distance() -> None:
    possible = [Fit(name, 100e-6, 1e-9) for name in ALGORITHMS]

    def width(workers: int) -> float:
        value, low, high = step(base(alone=1.2e-3), possible, workers).seconds
        assert low <= value <= high
        return (high - low) / value

    widths = [width(workers) for workers in (2, 8, 64, 1024)]
    assert widths == sorted(widths) and widths[0] < 0.11 and widths[-1] > 0.5


def test_fewer_workers_give_no_more_back_than_the_exchange_took() -> None:
    found = step(base(workers=64, alone=1.0), [Fit("ring", 1e-3, 0.0)], 2)
    assert found.seconds.low == pytest.approx(0.95 * 8e-3) and found.exchange == 0


def test_computing_is_a_line_through_the_measured_batches() -> None:
    # 2 ms a step and 0.1 ms a sample.
    measured = {64.0: 8.4e-3, 32.0: 5.2e-3, 16.0: 3.6e-3}
    assert computing(measured, 16, 64) == pytest.approx((4.8e-3,) * 3)
    found = computing(measured, 16, 4)
    assert found.value == pytest.approx(-1.2e-3)
    # In proportion to the batch, and none the quicker.
    assert (found.low, found.high) == pytest.approx((-0.75 * 3.6e-3, 0.0))
    assert computing({16.0: 3.6e-3}, 16, 16) == NONE


def published(rates: dict[int, float], workers: int, of: int) -> tuple[float, Range]:
    """From 1 worker and a number of them: what is predicted of another one, and what was."""
    alone, seconds = 1 / rates[1], workers / rates[workers]
    off = UNREPEATED * seconds
    exposed = seconds - alone
    start = Base(
        workers,
        Range(seconds, seconds - off, seconds + off),
        Range(exposed, exposed - off, exposed + off),
        1,
    )
    # All latency or all bandwidth: one size of arrays tells nothing of either.
    possible = [Fit(name, *terms) for name in ALGORITHMS for terms in ((0.0, 1.0), (1.0, 0.0))]
    value, low, high = step(start, possible, of).seconds
    return rates[of], Range(of / value, of / high, of / low)


@pytest.mark.parametrize("rates", DLPERF.values(), ids=map(", ".join, DLPERF))
def test_two_hosts_say_what_four_did(rates: dict[int, float]) -> None:
    measured, found = published(rates, 16, 32)
    assert found.low <= measured <= found.high
    assert abs(found.value / measured - 1) < 0.19


NO_NETWORK = {("BERT, batch 32", "TensorFlow 1"), ("BERT, batch 32", "MXNet")}
"""Of these, eight GPUs of one host say nothing of what the network between hosts costs."""
ONE_HOST = [(name, rates) for table in (DLPERF, PERF) for name, rates in table.items()]


@pytest.mark.parametrize(("name", "rates"), ONE_HOST)
def test_one_host_says_what_four_did_only_where_the_network_is_quick(
    name: tuple[str, str], rates: dict[int, float]
) -> None:
    measured, found = published(rates, 8, 32)
    quick = name not in NO_NETWORK and rates is not PERF["BERT, batch 96", "PyTorch"]
    assert (found.low <= measured <= found.high) == quick
