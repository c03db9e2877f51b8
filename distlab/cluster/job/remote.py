"""A job on a Ray elsewhere, through Ray's Jobs API: begun, followed, stopped.

The API is HTTP, on the head's dashboard, which ``ray[default]`` has.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distlab.cluster.connect import SETTINGS
from distlab.cluster.start import joining
from distlab.cluster.start.causes import cause
from distlab.errors import DistlabError

EVERY_S = 1.0
"""How often a job is asked what is new."""
PATIENCE_S = 60.0
"""For how long the head may not answer."""
REACH_S, ANSWER_S = 10.0, 30.0
"""For how long the head may not be reached, or not answer, when it is asked once."""
STOP_S = 30
"""Seconds that the command has to record its run as KILLED, once it is told to stop.

Ray's own 3 are not enough: MLflow may take longer to be told.
"""
OTHER_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Variables that Ray would believe before the address that it is given."""
BEGINS = "Running entrypoint for job "
"""How the line begins that Ray puts before a job's own."""
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
"""Ray's loggers that tell of each package that is sent."""

_UNHEARD = re.compile(r"connect|timed out|404", re.IGNORECASE)
_SHORT = re.compile(r"\[Errno \d+\] ([\w ]+)|((?:Connection to \S+|Read) timed out)")
"""What of an error of a request a person needs: ``[Errno 111] Connection refused``."""


@dataclass
class Job:
    """A job of a Ray elsewhere.

    Attributes
    ----------
    id:
        What Ray knows it by.
    address:
        Of the head's dashboard: ``http://head:8265``.
    """

    id: str
    address: str
    _client: Any = field(repr=False)
    _shown: int = 0

    @classmethod
    def begin(
        cls, address: str, id: str, entrypoint: str, variables: dict[str, str], folder: Path | None
    ) -> "Job":
        """Submit a shell command.

        Parameters
        ----------
        address, id:
            Of the head's dashboard, and what the job is to be called.
        entrypoint:
            The command.
        variables:
            Environment variables of the command.
        folder:
            Files that it finds where it starts; None for none.

        Raises
        ------
        DistlabError
            If no Jobs API answers there, or it refuses the job.
        KeyboardInterrupt
            If the command is told to end meanwhile; a job that Ray had taken by then is stopped.
        """
        environment: dict[str, Any] = {
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S), **variables}
        }
        if folder is not None:
            environment["working_dir"] = str(folder)
        try:
            client = _client(address)
            try:
                client.submit_job(entrypoint=entrypoint, submission_id=id, runtime_env=environment)
            except KeyboardInterrupt:
                with contextlib.suppress(Exception):
                    client.stop_job(id)
                raise
        except Exception as error:
            raise _refused(address, error) from error
        return cls(id, address, client)

    def follow(self, show: Callable[[str], None], most_s: float | None = None) -> str:
        """Show what the command prints until it ends; returns Ray's word for how: ``SUCCEEDED``.

        Parameters
        ----------
        show:
            Is given the new text.
        most_s:
            After so many seconds it is followed no further.

        Raises
        ------
        DistlabError
            If the head answers no more.
        """
        begun = heard = time.monotonic()
        while True:
            try:
                # In this order: what is printed before the end is in what is read after it.
                status = self._client.get_job_status(self.id)
                self._show(show, last=status.is_terminal())
                heard = time.monotonic()
                if status.is_terminal() or (most_s and heard - begun > most_s):
                    return str(status.value)
            except Exception as error:
                if time.monotonic() - heard > PATIENCE_S:
                    raise DistlabError(
                        f"to follow the job {self.id} at {self.address}",
                        f"the head has not answered for {PATIENCE_S:.0f} s: "
                        f"{brief(error)}\n"
                        "the job may go on; if it ended with the head, its run stays RUNNING in "
                        "the store",
                        f"ray job logs --address {self.address} {self.id}\n"
                        "it answers when the head does",
                        may_pass=True,
                    ) from error
            time.sleep(EVERY_S)

    def stop(self) -> None:
        """Have Ray send SIGTERM to the command, and SIGKILL if it is still there after a while."""
        self._client.stop_job(self.id)

    @property
    def code(self) -> int | None:
        """The command's exit code; None where Ray does not know it."""
        found = self._client.get_job_info(self.id).driver_exit_code
        return None if found is None else int(found)

    @property
    def why(self) -> str:
        """What Ray says of how it ended, in a line."""
        return str(self._client.get_job_info(self.id).message or "").strip().partition("\n")[0]

    def _show(self, show: Callable[[str], None], last: bool) -> None:
        """Show what is new in whole lines; what Ray says before them, only if they never begin."""
        text = str(self._client.get_job_logs(self.id))
        # A line that is not whole may go on.
        end = len(text) if last else text.rfind("\n") + 1
        begins = text.find(BEGINS)
        if begins < 0 and not last:
            return
        own = text.find("\n", begins) + 1 if begins >= 0 else 0
        new = text[max(self._shown, own) : end]
        self._shown = max(self._shown, end)
        if new:
            show(new)


def brief(error: BaseException) -> str:
    """Why a head was not reached, as short as a person needs it."""
    told = cause(error)
    found = _SHORT.search(told)
    return str(found[found.lastindex or 0]) if found else told


def _client(address: str) -> Any:
    """Ray's client; it is believed by the address alone."""
    for name, value in {**SETTINGS, **joining.settings()}.items():
        os.environ.setdefault(name, value)
    for name in OTHER_ADDRESSES:
        os.environ.pop(name, None)
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)

    class Client(JobSubmissionClient):
        """Ray's own waits for ever for a head that is cut off."""

        def _do_request(self, *told: Any, **named: Any) -> Any:
            return super()._do_request(*told, **{"timeout": (REACH_S, ANSWER_S), **named})

    return Client(address)


def _refused(address: str, error: BaseException) -> DistlabError:
    """Why there is no job, with what helps in this case."""
    told = f"to hand the command over to {address} (cluster=job)"
    why = cause(error)
    if "uthenti" in why or "token" in why.lower():
        return DistlabError(
            told,
            "it asks for a token, and the one here is missing or another",
            joining.GET_TOKEN,
        )
    # Another service than Ray's dashboard answers 404.
    if isinstance(error, ConnectionError) or _UNHEARD.search(why):
        return DistlabError(
            told,
            f"no Jobs API answers there: {why}",
            'on the head: pip install "ray[default]"\n'
            "and: ray start --head --dashboard-host=0.0.0.0\n"
            "its port is 8265: cluster.address=http://HEAD:8265",
            may_pass=True,
        )
    return DistlabError(
        told,
        f"Ray refuses it: {why}",
        f"ray job list --address {address}\nor on a machine of it: cluster=existing",
    )
