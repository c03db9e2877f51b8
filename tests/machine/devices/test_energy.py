from pathlib import Path

import pytest
from fake_nvml import FakeNvml

from distlab.machine.devices import energy
from distlab.machine.devices.energy import Meter
from distlab.machine.devices.nvml import Gpu


def zone(root: Path, name: str, kind: str, used_uj: int, most_uj: int = 1_000_000) -> Path:
    """A zone of powercap, as the kernel's documentation describes it."""
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file, text in (("name", kind), ("energy_uj", used_uj), ("max_energy_range_uj", most_uj)):
        (folder / file).write_text(f"{text}\n")
    return folder


def machine(root: Path, first: int, second: int) -> None:
    """Two packages, a core domain inside one of them, and the whole platform."""
    zone(root, "intel-rapl:0", "package-0", first)
    zone(root, "intel-rapl:1", "package-1", second)
    zone(root, "intel-rapl:0:0", "core", 5 * first)
    zone(root, "intel-rapl:2", "psys", 7 * first)


def test_the_processors_energy_is_that_of_all_packages_alone(tmp_path: Path) -> None:
    machine(tmp_path, 100_000, 200_000)
    meter = Meter(None, True, tmp_path)
    before = meter.now()
    machine(tmp_path, 400_000, 250_000)
    found = meter.since(before)
    assert (found.energy_j, found.meter) == (pytest.approx(0.35), "RAPL")
    assert found.seconds > 0 and found.before is None


def test_a_full_counter_begins_anew(tmp_path: Path) -> None:
    machine(tmp_path, 900_000, 0)
    meter = Meter(None, True, tmp_path)
    before = meter.now()
    machine(tmp_path, 100_000, 0)
    assert meter.since(before).energy_j == pytest.approx(0.2)


@pytest.mark.parametrize("fault", ["no folder", "no file", "not asked", "text", "gone"])
def test_what_cannot_be_read_is_not_measured(tmp_path: Path, fault: str) -> None:
    if fault != "no folder":
        machine(tmp_path, 100_000, 200_000)
    if fault == "no file":
        for number in (0, 1):
            (tmp_path / f"intel-rapl:{number}/energy_uj").unlink()
    meter = Meter(None, fault != "not asked", tmp_path)
    before = meter.now()
    if fault == "text":
        (tmp_path / "intel-rapl:1/energy_uj").write_text("?")
    if fault == "gone":
        (tmp_path / "intel-rapl:1/energy_uj").unlink()
    found = meter.since(before)
    assert (found.energy_j, found.meter) == (None, None)


def test_a_counter_that_root_alone_may_read_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path, 100_000, 200_000)
    monkeypatch.setattr(energy.os, "access", lambda path, mode: path.name != "energy_uj")
    meter = Meter(None, True, tmp_path)
    assert meter.since(meter.now()).energy_j is None


def test_a_gpus_energy_is_its_own_with_its_state_at_both_ends() -> None:
    nvml = FakeNvml()
    meter = Meter(Gpu(nvml, "0"), False)
    before = meter.now()
    nvml.figures.update(energy_j=1042.5, reasons=0x20)
    found = meter.since(before)
    assert (found.energy_j, found.meter) == (42.5, "NVML")
    assert found.before is not None and found.before.reasons == ("idle",)
    assert found.after is not None and found.after.reasons == ("thermal slowdown",)
    nvml.figures["energy_j"] = None
    found = meter.since(before)
    assert (found.energy_j, found.meter) == (None, None) and found.after is not None
