"""NVIDIA's libraries in this process, as they tell their versions themselves. Not yet run on a GPU.

Frameworks load them from packages, from the system, or bring their own; so what is installed does
not tell what computes.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MAPS = Path("/proc/self/maps")


def loaded() -> dict[str, str]:
    """Versions of those that this process has loaded by now, by their names: cudnn, nccl ..."""
    found = {}
    for path in _mapped():
        name = path.name.partition(".so")[0].removeprefix("lib")
        if name in _VERSIONS and name not in found:
            # What is there already, and nothing anew.
            with suppress(OSError, AttributeError):
                library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
                if (version := _VERSIONS[name](library)) is not None:
                    found[name] = version
    return dict(sorted(found.items()))


def _mapped() -> list[Path]:
    """The shared libraries of this process."""
    fields = [line.split(maxsplit=5) for line in MAPS.read_text().splitlines()]
    paths = dict.fromkeys(one[5] for one in fields if len(one) == 6 and ".so" in one[5])
    return [Path(path) for path in paths]


def _number(library: ctypes.CDLL, call: str, *before: int) -> int | None:
    """What a function writes to where its last argument points; None if it says that it failed."""
    value = ctypes.c_int()
    failed = getattr(library, call)(*before, ctypes.byref(value))
    return None if failed else value.value


def _cublas(library: ctypes.CDLL) -> str | None:
    """By its properties 0, 1 and 2 (library_types.h)."""
    parts = [_number(library, "cublasGetProperty", part) for part in range(3)]
    return None if None in parts else ".".join(map(str, parts))


def _cudart(library: ctypes.CDLL) -> str | None:
    """1,000 times the major and ten times the minor number (cudaRuntimeGetVersion)."""
    number = _number(library, "cudaRuntimeGetVersion")
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _cudnn(library: ctypes.CDLL) -> str:
    """CUDNN_VERSION: the major number times 10,000 from 9 on, times 1,000 before."""
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = int(library.cudnnGetVersion())
    return _three(number, 10_000 if number >= 90_000 else 1_000)


def _nccl(library: ctypes.CDLL) -> str | None:
    """NCCL_VERSION: the major number times 10,000 from 2.9 on, times 1,000 before (nccl.h)."""
    number = _number(library, "ncclGetVersion")
    return None if number is None else _three(number, 10_000 if number >= 10_000 else 1_000)


def _three(number: int, major: int) -> str:
    """Major number, minor one and patch.

    >>> _three(91002, 10_000), _three(8907, 1_000)
    ('9.10.2', '8.9.7')
    """
    return f"{number // major}.{number % major // 100}.{number % 100}"


_VERSIONS: dict[str, Callable[[ctypes.CDLL], str | None]] = {
    "cublas": _cublas,
    "cudart": _cudart,
    "cudnn": _cudnn,
    "nccl": _nccl,
}
