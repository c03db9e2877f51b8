import os
from collections import namedtuple

import psutil
import pytest

from distlab.doctor import machine
from distlab.doctor.finding import Finding, Level
from distlab.machine import cores
from distlab.machine.cores import Cores


def told(monkeypatch: pytest.MonkeyPatch, found: Cores) -> list[Finding]:
    monkeypatch.setattr(cores, "usable", lambda: found)
    return [*machine.cores(), *machine.clock()]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (Cores(8, (0,), 1), "gpus=1"),
        (Cores(8, (0, 1, 2, 3), 2), "gpus=2"),
        (Cores(8, (0, 1, 2, 3), 4, quota=0.5), "quota"),
    ],
)
def test_cores_that_are_fewer_than_they_seem_are_told(
    monkeypatch: pytest.MonkeyPatch, found: Cores, word: str
) -> None:
    first, _ = told(monkeypatch, found)
    assert first.level is Level.note and word in first.advice


def test_a_governor_that_saves_power_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _, saving = told(monkeypatch, Cores(2, (0, 1), 2, governor="powersave", turbo=True))
    assert saving.level is Level.note and "cpupower" in saving.advice
    _, fast = told(monkeypatch, Cores(2, (0, 1), 2, governor="performance", turbo=False))
    _, unknown = told(monkeypatch, Cores(2, (0, 1), 2))
    assert fast.level is unknown.level is Level.fine


@pytest.mark.parametrize(("gib", "level"), [(0.5, Level.wrong), (2, Level.note), (16, Level.fine)])
def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch, gib: float, level: Level) -> None:
    memory = namedtuple("memory", "available")(gib * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert next(machine.memory()).level is level


def test_work_of_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for running, level in ((0.1, Level.fine), (50.0, Level.note)):
        monkeypatch.setattr(os, "getloadavg", lambda running=running: (running, 0, 0))
        assert next(machine.load()).level is level


def test_variables_that_bind_or_tune_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"GOMP_CPU_AFFINITY": "0-1", "HOME": "/root"})
    (found,) = machine.variables()
    assert found.level is Level.note and found.found == "GOMP_CPU_AFFINITY=0-1"
    monkeypatch.setattr(os, "environ", {})
    assert next(machine.variables()).level is Level.fine
