from pathlib import Path

import pytest

from distlab.machine.devices import driver


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release", "580.65"),
        ("nothing", None),
    ],
)
def test_the_drivers_version_is_the_kernels(tmp_path: Path, text: str, version: str | None) -> None:
    file = tmp_path / "version"
    file.write_text(f"{text}\nGCC version:  gcc version 12.3.0\n")
    assert driver.version(file) == version


def test_no_driver_is_told_in_words(tmp_path: Path) -> None:
    assert driver.told(tmp_path / "none") == "and there is no NVIDIA driver here"
