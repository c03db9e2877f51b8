"""Who may connect to what the processes of a run listen on: on one machine, their own user alone.

The frameworks' ranks exchange gradients through ports that ask nobody who he is, and TensorFlow's
servers read and write files for whoever reaches them; they listen on all addresses of the machine,
which its source has fixed (``grpc_server_lib.cc``, ``0.0.0.0``). A loopback address keeps other
machines out, but no other user of this one. So a small library (``guard.c``, compiled at each
start into a folder that is the user's alone) is loaded into the processes before all others: it
binds what they listen on to loopback, and closes a connection from another user's socket before
the process sees it. It runs when a connection is made, never in a step.
"""

import contextlib
import ctypes
import shutil
import subprocess
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.c")
LIBRARY = "guard.so"
COMPILERS = ("cc", "gcc", "clang")
PRELOAD = "LD_PRELOAD"
"""Which libraries are loaded before all others (ld.so(8)); space and colon part them."""
COMPILE_S = 60.0


def build(folder: Path) -> Path:
    """Compile the guard into a folder; returns the library.

    Raises
    ------
    OSError
        If there is no C compiler, or what it made cannot be loaded from there.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise OSError(f"no C compiler is on the PATH ({', '.join(COMPILERS)})")
    library = folder / LIBRARY
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMPILE_S)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{compiler} did not end within {COMPILE_S:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"it ended with code {error.returncode}"]
        raise OSError(f"{compiler} failed: {said[0]}") from error
    ctypes.CDLL(str(library))
    return library


def preloaded(library: Path, environment: Mapping[str, str]) -> str:
    """The value of :data:`PRELOAD` with which a process loads the guard before all others."""
    return ":".join(filter(None, (str(library), environment.get(PRELOAD))))


@contextlib.contextmanager
def inherited(library: Path | None, environment: MutableMapping[str, str]) -> Iterator[None]:
    """Have the processes that are started in the block load the guard; None for no guard."""
    before = environment.get(PRELOAD)
    if library is not None:
        environment[PRELOAD] = preloaded(library, environment)
    try:
        yield
    finally:
        environment.pop(PRELOAD, None)
        if before is not None:
            environment[PRELOAD] = before


def active() -> bool:
    """Whether the calling process runs with the guard."""
    return hasattr(ctypes.CDLL(None), "distlab_guard")


def forget(environment: MutableMapping[str, str]) -> None:
    """Take the guard out of an environment: it is loaded, and children listen for nobody."""
    kept = [one for one in environment.pop(PRELOAD, "").split(":") if Path(one).name != LIBRARY]
    if any(kept):
        environment[PRELOAD] = ":".join(filter(None, kept))
