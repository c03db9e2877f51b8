"""Whether Ray is still there: its head (the GCS) and the raylet of this machine.

Where one of them is lost, Ray ends the driver's process from C++, some 10 s (raylet) or 60 s (head)
later, and no Python sees it. So the driver looks itself, and leaves Ray before.
"""

import socket
import time
from typing import Any

import ray

from distlab.cluster.start.before import PREFACE
from distlab.errors import RayLostError

NO_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The frame with which a client of HTTP/2 begins (RFC 9113, 6.5), after which a server answers."""
LOOK_S = 2.0
"""How often it is looked."""
ANSWER_S = 2.0
MUTE_S = 30.0
"""How long a head that takes connections may leave them without an answer: its machine is busy."""


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
        """Look whether Ray is there, at most every 2 s unless ``now``.

        Raises
        ------
        RayLostError
            If its head or this machine's raylet is gone.
        """
        if not now and time.monotonic() - self._looked < LOOK_S:
            return
        try:
            with socket.socket(socket.AF_UNIX) as raylet:
                raylet.settimeout(ANSWER_S)
                raylet.connect(self._raylet)
        except TimeoutError:
            pass  # stopped, or its queue is full: not gone
        except OSError as error:
            why = f"its process on this machine (raylet) is gone: {error.strerror}"
            raise self._lost(why) from None
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

    @classmethod
    def reached(cls) -> bool:
        """Whether the Ray that this process is connected to answers now."""
        try:
            found = cls.connected()
            found.check(now=True)
        except RayLostError:
            return False
        return found.answers

    def _lost(self, why: str) -> RayLostError:
        return RayLostError(f"Ray is lost: {why}", self._logs)
