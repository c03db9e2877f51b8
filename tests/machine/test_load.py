import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from distlab.machine.load import TICK_S, CpuSeconds, Load, load, worst


def window(wall: float = 10.0, own: float = 9.9, busy: float = 10.0, stolen: float = 0.0) -> Any:
    return CpuSeconds(wall, own, busy, stolen)


def test_known_answer_of_one_worker() -> None:
    found = load(4, 1, [[window(10, own=9, busy=15, stolen=1), window(30, 30, 31, 1)]])
    assert found.cores == 4
    assert found.own_cores == pytest.approx(39 / 40)
    assert found.other_cores == pytest.approx((46 - 39) / 40)
    assert found.steal == pytest.approx(2 / (40 * 4))
    assert found.too_noisy is None


def test_what_two_workers_do_is_theirs_and_the_machine_is_counted_once() -> None:
    found = load(2, 2, [[window(10, own=9, busy=20)], [window(10, own=8, busy=20)]])
    assert found.own_cores == pytest.approx(1.7)
    assert found.other_cores == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("cores", "threads", "other", "noisy"),
    [
        (2, 2, 0.2, False),
        (2, 2, 0.3, True),
        (2, 1, 1.2, False),
        (2, 1, 1.3, True),
        (2, 4, 0.2, False),
        (2, 4, 0.3, True),
    ],
)
def test_others_may_have_the_free_cores_and_a_quarter(
    cores: int, threads: int, other: float, noisy: bool
) -> None:
    long = 1000.0
    found = load(cores, threads, [[window(long, own=long, busy=long * (1 + other))]], "here")
    assert found.other_cores == pytest.approx(other)
    assert (found.too_noisy is not None) == noisy
    if noisy:
        assert found.too_noisy is not None
        assert f"{other:.2f} cores of here" in found.too_noisy


def test_in_short_windows_the_ticks_of_the_clock_are_no_noise() -> None:
    # 0.4 cores of others in 50 ms are two ticks of 10 ms, one for each of the two cores.
    busy = 0.05 * 1.4
    assert load(2, 2, [[window(0.05, own=0.05, busy=busy)]]).too_noisy is None
    assert load(2, 2, [[window(50, own=50, busy=50 * 1.4)]]).too_noisy is not None
    # Many short windows are as uncertain as one of them.
    assert load(2, 2, [[window(0.05, own=0.05, busy=busy)] * 100]).too_noisy is None


def test_in_a_short_window_a_stolen_tick_is_no_noise() -> None:
    # One tick of 10 ms in 50 ms of two cores is 10 % of their time.
    found = load(2, 2, [[window(0.05, own=0.05, busy=0.05, stolen=TICK_S)]])
    assert found.steal == pytest.approx(0.1) and found.too_noisy is None
    assert found.uncertain_cores == pytest.approx(2 * TICK_S / 0.05)
    assert load(2, 2, [[window(50, own=50, busy=50, stolen=10)]]).too_noisy is not None


@pytest.mark.parametrize(("stolen", "noisy"), [(0.9, False), (1.1, True)])
def test_stolen_time_is_a_share_of_all_cores(stolen: float, noisy: bool) -> None:
    found = load(2, 2, [[window(10, own=10, busy=10, stolen=stolen)]], "here")
    assert found.steal == pytest.approx(stolen / 20)
    assert (found.too_noisy is not None) == noisy
    assert not noisy or "hypervisor" in str(found.too_noisy)


def test_less_than_nothing_is_nothing() -> None:
    # The clocks of process and machine are read one after the other.
    assert load(2, 1, [[window(10, own=10.1, busy=10.0)]]).other_cores == 0


def test_the_worst_machine_speaks_for_all() -> None:
    quiet = Load(2, 1.0, 0.9, 0.0, None)
    noisy = Load(2, 2.0, 0.4, 0.0, "others computed")
    noisier = Load(2, 2.0, 0.5, 0.0, "others computed")
    assert worst([]) is None
    found = worst([quiet, noisy, noisier])
    assert found == {
        "cores": 2,
        "own_cores": 2.0,
        "other_cores": 0.5,
        "steal": 0.0,
        "too_noisy": "others computed",
        "uncertain_cores": 0.0,
        "throttled_cores": 0.0,
    }


def test_the_longest_throttled_worker_tells_of_a_quota() -> None:
    # Two workers in one group, which both read; a second window in which it stopped nobody.
    windows = [CpuSeconds(10, 9, 18, 0, throttled=seconds) for seconds in (4.0, 0.0)]
    assert load(2, 2, [windows, windows]).throttled_cores == pytest.approx(4 / 20)


STAT = """cpu  600 60 300 9000 40 6 3 120 50 10
cpu0 100 10 50 1500 10 1 0 20 50 10
cpu1 200 20 100 3000 10 2 1 40 0 0
cpu3 300 30 150 4500 20 3 2 60 0 0
intr 1 2 3
"""


@pytest.mark.parametrize(
    ("cores", "busy", "stolen"),
    [(None, 969, 120), ([0], 161, 20), ([3], 485, 60), ([1, 3], 323 + 485, 100), ([2], 0, 0)],
)
def test_only_cores_that_may_be_used_are_looked_at(
    cores: list[int] | None, busy: int, stolen: int, tmp_path: Path
) -> None:
    """Core 2 is off line; what guests took is contained in what users took."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(STAT)
    found = CpuSeconds.now(cores, root=tmp_path)
    assert found.busy == pytest.approx(busy * TICK_S)
    assert found.stolen == pytest.approx(stolen * TICK_S)


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_busy_process_is_seen_as_its_own_work_and_the_machines() -> None:
    before = CpuSeconds.now()
    spin(0.5)
    used = CpuSeconds.now() - before
    assert 0.5 <= used.own < 0.5 + 10 * TICK_S
    assert used.wall >= 0.5 - TICK_S
    # The machine's time is counted in ticks of each core.
    cores = psutil.cpu_count() or 1
    assert used.busy >= used.own - 2 * cores * TICK_S
    assert 0 <= used.busy <= cores * (used.wall + 2 * TICK_S)


def test_a_sleeping_process_does_nothing_of_its_own() -> None:
    before = CpuSeconds.now()
    time.sleep(0.3)
    used = CpuSeconds.now() - before
    assert used.wall >= 0.3
    assert used.own < 0.2


def test_all_clocks_run_forward() -> None:
    readings = []
    for _ in range(5):
        readings.append(CpuSeconds.now())
        spin(0.02)
    for earlier, later in pairwise(readings):
        between = later - earlier
        assert min(between.wall, between.own) > 0
        assert min(between.busy, between.stolen) >= 0
