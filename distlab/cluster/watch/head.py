"""Whether Ray is still there: its head (the GCS) and the raylet of this machine.

Where one of them is lost, Ray ends the driver's process from C++, and no Python sees it: 60 s after
the head; after the raylet as soon as it gives an object back, such as what a dead worker was told,
and that a worker is dead it knows a second later. So the driver looks itself, and leaves Ray
before.
"""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from distlab.cluster.start.before import PREFACE
from distlab.errors import RayLostError

NO_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The frame with which a client of HTTP/2 begins (RFC 9113, 6.5), after which a server answers."""
LOOK_S = 2.0
"""How often it is looked for the head."""
ANSWER_S = 2.0
MUTE_S = 30.0
"""How long a head that takes connections may leave them without an answer: its machine is busy."""
TELL_S = 5.0
"""How long it is waited until Ray was told what it is told last."""


class Head:
    """A Ray, as far as this process needs it.

    Parameters
    ----------
    head:
        Where its head listens: ``host:port``.
    raylet:
        The socket of the raylet of this machine.
    logs:
        The folder of its logs.

    Attributes
    ----------
    answers:
        Whether its head answered when it was last looked: what asks it may else wait for ever.
    """

    def __init__(self, head: str, raylet: str, logs: str) -> None:
        self._head, self._raylet, self._logs = head, raylet, logs
        self._looked = self._answered = time.monotonic()
        self.answers = True

    @classmethod
    def connected(cls) -> "Head":
        """The Ray that this process is connected to."""
        node: Any = ray._private.worker.global_worker.node
        return cls(node.gcs_address, node.raylet_socket_name, str(node.get_logs_dir_path()))

    def check(self, now: bool = False) -> None:
        """Look whether Ray is there: for its head at most every 2 s unless ``now``.

        Raises
        ------
        RayLostError
            If its head or this machine's raylet is gone.
        """
        self._look_for_raylet()
        if not now and time.monotonic() - self._looked < LOOK_S:
            return
        host, _, port = self._head.rpartition(":")
        self.answers = True
        try:
            with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S) as head:
                head.sendall(PREFACE + NO_SETTINGS)
                head.recv(1)
            self._answered = time.monotonic()
        except ConnectionResetError:
            self._answered = time.monotonic()  # by one that wants another greeting
        except ConnectionRefusedError:
            raise self._lost(f"its head at {self._head} is gone: nothing listens there") from None
        except OSError as error:
            self.answers = False
            silent = time.monotonic() - self._answered
            if silent > MUTE_S:
                why = f"its head at {self._head} has not answered for {silent:.0f} s: {error}"
                raise self._lost(why) from None
        self._looked = time.monotonic()

    def wait(self) -> None:
        """Wait until its head answers.

        Raises
        ------
        RayLostError
            As :meth:`check`.
        """
        self.check(now=True)
        while not self.answers:
            time.sleep(LOOK_S / 4)
            self.check(now=True)

    @classmethod
    def reached(cls) -> bool:
        """Whether the Ray that this process is connected to answers now."""
        try:
            found = cls.connected()
            found.check(now=True)
        except RayLostError:
            return False
        return found.answers

    @classmethod
    def has_raylet(cls) -> bool:
        """Whether the raylet of this machine is there."""
        try:
            cls.connected()._look_for_raylet()
        except RayLostError:
            return False
        return True

    def _look_for_raylet(self) -> None:
        """The raylet says nothing on its line, which ends with its process."""
        try:
            ended, why = not _line(self._raylet).recv(1), "it has hung up"
        except (TimeoutError, BlockingIOError):
            return  # stopped, or its queue is full; or there and silent
        except OSError as error:
            ended, why = True, str(error.strerror)
        if ended:
            raise self._lost(f"its process on this machine (raylet) is gone: {why}")

    def _lost(self, why: str) -> RayLostError:
        return RayLostError(f"Ray is lost: {why}", self._logs)


def told(tell: Callable[[], object], seconds: float = TELL_S) -> None:
    """Tell or ask Ray something that nothing depends on, as long as it is there to hear it.

    A head that is being ended greets, takes a question, and never answers it; Ray's own library
    waits for a minute. A batch system that ends a job ends Ray and this process at the same moment,
    and leaves half of that until it kills.
    """
    if not Head.reached():
        return
    telling = threading.Thread(target=_unless_ray_fails, args=[tell], daemon=True)
    telling.start()
    given_up = time.monotonic() + seconds
    while telling.is_alive() and time.monotonic() < given_up and Head.has_raylet():
        telling.join(0.1)


def _unless_ray_fails(tell: Callable[[], object]) -> None:
    with contextlib.suppress(RayError, OSError):
        tell()


@functools.cache
def _line(raylet: str) -> socket.socket:
    """A connection to a raylet, which has its own socket in each Ray."""
    line = socket.socket(socket.AF_UNIX)
    try:
        line.settimeout(ANSWER_S)
        line.connect(raylet)
    except OSError:
        line.close()
        raise
    line.setblocking(False)
    return line
