"""Which instructions Paddle's bundled MKL should use; imports no framework."""

import os
from pathlib import Path


def mkl_cpu_type(cpuinfo: str) -> str | None:
    """The value that ``MKL_DEBUG_CPU_TYPE=auto`` stands for: the instructions that MKL should use.

    Paddle bundles an MKL that takes a generic code path on other vendors' processors, which is two
    to five times slower, unless it is told what they can do: 7 for AVX-512, 5 for AVX2.

    Parameters
    ----------
    cpuinfo:
        The text of ``/proc/cpuinfo`` of a Linux machine.

    Returns
    -------
    str or None
        ``7`` or ``5`` on an AMD processor that has the instructions, else None: leave it to MKL.
    """
    fields = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    if fields.get("vendor_id") != "AuthenticAMD":
        return None
    if flags >= {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}:
        return "7"
    return "5" if flags >= {"avx2", "fma"} else None


def resolve_mkl_cpu_type() -> None:
    """Replace ``MKL_DEBUG_CPU_TYPE=auto`` by what it stands for on this machine, or remove it.

    MKL reads the variable at its first call, so this comes before Paddle is used.
    """
    if os.environ.get("MKL_DEBUG_CPU_TYPE") != "auto":
        return
    del os.environ["MKL_DEBUG_CPU_TYPE"]
    cpuinfo = Path("/proc/cpuinfo")
    if cpu_type := mkl_cpu_type(cpuinfo.read_text() if cpuinfo.exists() else ""):
        os.environ["MKL_DEBUG_CPU_TYPE"] = cpu_type
