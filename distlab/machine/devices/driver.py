"""NVIDIA's driver, as the kernel tells of it, without any library."""

import re
from pathlib import Path

FILE = Path("/proc/driver/nvidia/version")


def version(file: Path = FILE) -> str | None:
    """The driver's version, such as ``550.54.15``; None where there is none."""
    try:
        found = re.search(r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", file.read_text())
    except OSError:
        return None
    return found[1] if found else None


def told(file: Path = FILE) -> str:
    """The driver in a few words, for an error."""
    found = version(file)
    return f"and NVIDIA's driver here is {found}" if found else "and there is no NVIDIA driver here"
