import numpy as np
import pytest

from distlab.measure.collectives import ALGORITHMS, Fit, Timed, fit, fits

SIZES = (2**10, 2**14, 2**18, 2**20, 2**22)


def timed(truth: Fit, *workers: int, noise: float = 0.0) -> list[Timed]:
    random = np.random.default_rng(0)
    return [
        Timed(n, size, truth.seconds(n, size) * float(np.exp(random.normal(0, noise))))
        for n in workers
        for size in SIZES
    ]


def test_the_terms_are_those_of_the_paper() -> None:
    # Of 8 workers, with a latency of 1 s and 1 s an array.
    assert Fit("ring", 1.0, 0.0).seconds(8, 1) == 14
    assert Fit("ring", 0.0, 1.0).seconds(8, 1) == 14 / 8
    assert Fit("halving", 1.0, 0.0).seconds(8, 1) == 6
    assert Fit("halving", 0.0, 1.0).seconds(8, 1) == 14 / 8
    assert Fit("doubling", 1.0, 0.0).seconds(8, 1) == 3
    assert Fit("doubling", 0.0, 1.0).seconds(8, 1) == 3
    # Five workers take as many rounds as eight; one needs none.
    assert Fit("halving", 1.0, 0.0).seconds(5, 1) == 6
    assert [Fit(name, 1.0, 1.0).seconds(1, 1) for name in ALGORITHMS] == [0, 0, 0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_machines_latency_and_bandwidth_are_found(algorithm: str) -> None:
    truth = Fit(algorithm, 30e-6, 0.5e-9)
    found = fit(algorithm, timed(truth, 2, 4))
    assert (found.alpha, found.beta) == pytest.approx((30e-6, 0.5e-9))
    assert found.error < 1e-9


def test_neither_is_negative() -> None:
    # Times that fall with the size, which no machine takes: the line would have a slope below 0.
    found = fit("ring", [Timed(2, 1000, 1e-3), Timed(2, 2000, 0.5e-3)])
    assert found.alpha > 0 and found.beta == 0
    with pytest.raises(ValueError, match="no all-reduce"):
        fit("ring", [])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_several_numbers_of_workers_tell_the_algorithm(algorithm: str) -> None:
    found = fits(timed(Fit(algorithm, 30e-6, 0.5e-9), 2, 4, 8, 16, noise=0.02))
    assert [one.algorithm for one in found] == [algorithm]


def test_one_number_of_workers_tells_none() -> None:
    found = fits(timed(Fit("doubling", 30e-6, 0.5e-9), 4, noise=0.02))
    assert [one.algorithm for one in found] == list(ALGORITHMS)
    assert [one.error for one in found] == pytest.approx([found[0].error] * 3)
