"""What vectors the processor computes with, where a framework's library doesn't see it."""

from pathlib import Path

AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
AVX2 = {"avx2", "fma"}


def amd_vector_bits(cpuinfo: str | None = None) -> int | None:
    """How wide the vectors of an AMD processor are. MKL does not use all it finds there.

    Parameters
    ----------
    cpuinfo:
        The text of ``/proc/cpuinfo`` of a Linux machine; None for this machine's.

    Returns
    -------
    int or None
        512 (AVX-512) or 256 (AVX2 with FMA); None for older or other vendors' processors.
    """
    if cpuinfo is None:
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text() if path.exists() else ""
    fields = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    if fields.get("vendor_id") != "AuthenticAMD":
        return None
    if flags >= AVX512:
        return 512
    return 256 if flags >= AVX2 else None
