"""Which instructions Paddle's bundled MKL should use; imports no framework."""

import os

from distlab.backends.common.processor import amd_vector_bits

CPU_TYPES = {512: "7", 256: "5"}
"""By the bits of its vectors, the processor that MKL should think an AMD processor is."""


def resolve_mkl_cpu_type() -> None:
    """Replace ``MKL_DEBUG_CPU_TYPE=auto`` by what it stands for on this machine, or remove it.

    Paddle bundles an MKL that takes a generic code path on other vendors' processors, which is two
    to five times slower, unless it is told what they can do: 7 for AVX-512, 5 for AVX2. On other
    processors MKL chooses well by itself. It reads the variable at its first call, so this comes
    before Paddle is used.
    """
    if os.environ.get("MKL_DEBUG_CPU_TYPE") != "auto":
        return
    del os.environ["MKL_DEBUG_CPU_TYPE"]
    if bits := amd_vector_bits():
        os.environ["MKL_DEBUG_CPU_TYPE"] = CPU_TYPES[bits]
