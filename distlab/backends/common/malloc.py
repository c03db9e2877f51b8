"""How the C library keeps the memory that a framework frees; imports no framework."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>
GIB = 2**30


def keep_freed_memory() -> None:
    """Let freed blocks stay with the process, up to 1 GiB, instead of going back to the kernel.

    torch and Paddle take their CPU tensors from ``malloc``. A convolution's activations of some MiB
    are freed at the end of a step, given back, and faulted in anew, page by page, in the next one:
    up to 500 page faults a step of LeNet-5 with a batch of 64 were measured in Paddle, a tenth of
    its time, and 8,200 with a batch of 512 in torch, almost half of it; none with these settings
    (mallopt(3); glibc on Linux, nothing elsewhere). The peak of memory stays as it was.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, GIB)
        mallopt(M_MMAP_MAX, 0)  # else blocks of over 32 MiB go back at once
