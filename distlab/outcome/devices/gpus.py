"""The GPUs of a run, by what NVML told of them at both ends of each window."""

from collections.abc import Mapping, Sequence
from typing import Any

from distlab.machine.devices.energy import DeviceWindow
from distlab.machine.devices.nvml import SLOWED, GpuState
from distlab.outcome.caveats import THROTTLED_AT_MOST, Caveat, Code
from distlab.outcome.stretch import Stretch

BUSY_AT_MOST = 0.05
"""Share of a GPU's time that others may have."""
SHORT_S = 1.0
"""A shorter epoch on a GPU tells much of the host, which starts the kernels."""


def told(stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    """The GPU of each rank as a summary holds it; empty where NVML told of none."""
    return [_plain(rank, host, facts, windows) for rank, host, facts, windows in _gpus(stretches)]


def caveats(stretches: Sequence[Stretch], device: str) -> list[Caveat]:
    """What speaks against a run because of its GPUs."""
    found = []
    for _, host, facts, windows in _gpus(stretches):
        name = f"{facts.get('name') or 'the GPU'} {facts.get('pci_address') or ''} of {host}"
        seconds = sum(window.seconds for window in windows) or 1.0
        seen = _reasons(windows)
        hot = _grown(windows, "thermal_s") / seconds
        if slowed := sorted(SLOWED & set(seen)):
            found.append(Caveat(Code.throttled, f"{name}: {', '.join(slowed)}"))
        elif hot > THROTTLED_AT_MOST:
            found.append(Caveat(Code.throttled, f"{name}: by heat for {hot:.0%} of the time"))
        capped = _grown(windows, "power_s") / seconds
        if "power cap" in seen or capped > THROTTLED_AT_MOST:
            limit = facts.get("power_limit_w")
            at = f" of {limit:g} W" if limit else ""
            found.append(Caveat(Code.power_capped, f"{name}: its power cap{at}"))
        others = max((window.busy_with_others or 0.0 for window in windows), default=0.0)
        if others > BUSY_AT_MOST:
            text = f"other processes kept {name} busy for {others:.0%} of the time"
            found.append(Caveat(Code.noisy, text))
    epochs = [
        max(part.window.seconds for part in parts.values())
        for stretch in stretches
        for parts in stretch.windows
    ]
    if device == "gpu" and epochs and (mean := sum(epochs) / len(epochs)) < SHORT_S:
        found.append(Caveat(Code.short, f"an epoch takes {1e3 * mean:.3g} ms"))
    return found


_Gpu = tuple[int, str, Mapping[str, Any], list[DeviceWindow]]


def _gpus(stretches: Sequence[Stretch]) -> list[_Gpu]:
    """Each rank's GPU: rank, host, facts, and its windows; those of groups before a failure too."""
    found: dict[tuple[int, str, str | None], _Gpu] = {}
    for stretch in stretches:
        for rank, ready in sorted(stretch.ready.items()):
            facts = ready.resources.get("gpu")
            if facts is None:
                continue
            host = stretch.started[rank].host if rank in stretch.started else "?"
            gpu = found.setdefault((rank, host, facts.get("uuid")), (rank, host, facts, []))
            told = (parts[rank].device for parts in stretch.windows if rank in parts)
            gpu[3].extend(one for one in told if one is not None)
    return list(found.values())


def _plain(
    rank: int, host: str, facts: Mapping[str, Any], windows: Sequence[DeviceWindow]
) -> dict[str, Any]:
    states = _states(windows)

    def of(name: str) -> list[Any]:
        return [value for one in states if (value := getattr(one, name)) is not None]

    seconds = sum(window.seconds for window in windows)
    taken = [window.energy_j for window in windows]
    whole = bool(taken) and None not in taken and seconds > 0
    return {
        "rank": rank,
        "host": host,
        **{name: facts.get(name) for name in ("name", "uuid", "pci_address", "driver", "mig")},
        "power_limit_w": facts.get("power_limit_w"),
        "max_sm_mhz": facts.get("max_sm_mhz"),
        "sm_mhz_low": min(of("sm_mhz"), default=None),
        "sm_mhz_high": max(of("sm_mhz"), default=None),
        "memory_mhz": max(of("memory_mhz"), default=None),
        "mean_w": sum(filter(None, taken)) / seconds if whole else None,
        "celsius_high": max(of("celsius"), default=None),
        "utilisation_high": max(of("busy"), default=None),
        "memory_bytes_high": max(of("memory_bytes"), default=None),
        "clock_reasons": _reasons(windows),
        "thermal_s": _grown(windows, "thermal_s") if of("thermal_s") else None,
        "power_capped_s": _grown(windows, "power_s") if of("power_s") else None,
        "other_processes": max(of("others"), default=None),
        "busy_with_others": max(
            (one.busy_with_others for one in windows if one.busy_with_others is not None),
            default=None,
        ),
    }


def _states(windows: Sequence[DeviceWindow]) -> list[GpuState]:
    return [one for window in windows for one in (window.before, window.after) if one is not None]


def _reasons(windows: Sequence[DeviceWindow]) -> list[str]:
    """Why clocks were as they were, at any end of a window."""
    return sorted({reason for state in _states(windows) for reason in state.reasons or ()})


def _grown(windows: Sequence[DeviceWindow], counter: str) -> float:
    """By how much a counter grew in all windows, in seconds."""
    grown = 0.0
    for window in windows:
        before, after = getattr(window.before, counter, None), getattr(window.after, counter, None)
        if before is not None and after is not None:
            grown += max(0.0, after - before)
    return grown
