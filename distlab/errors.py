"""Errors that are shown to people without a traceback: a user's mistake, a failed worker."""

from collections.abc import Sequence


class DistlabError(Exception):
    """A mistake in the request or its surroundings, shown to the user without a traceback.

    Parameters
    ----------
    asked:
        What the user asked for, in one sentence.
    found:
        What distlab found instead, in one sentence.
    fix:
        What to do about it: one command or one option for each line.
    may_pass:
        Whether the same request may work a little later: no room, a start that was too slow.
    """

    def __init__(self, asked: str, found: str, fix: str, may_pass: bool = False) -> None:
        super().__init__(asked, found, fix)
        self.asked = asked
        self.found = found
        self.fix = fix
        self.may_pass = may_pass

    def __str__(self) -> str:
        told = {"asked: ": self.asked, "found: ": self.found, "fix:   ": self.fix}
        return "\n".join(name + text.replace("\n", "\n       ") for name, text in told.items())


class DivergedError(DistlabError):
    """Training came to numbers that are none, which another seed may not do.

    ``found`` says where: ``diverged at step 2 of epoch 1 on rank 0: loss nan``.
    """


class WorkerError(Exception):
    """A worker failed; the message holds its last words, ``log`` its whole output.

    ``may_pass`` says whether the same run may work a little later: its machine was lost.
    ``raised`` says whether the worker told of it itself, so that the same may come again.
    """

    def __init__(
        self, message: str, log: str, may_pass: bool = False, raised: bool = False
    ) -> None:
        super().__init__(message)
        self.log = log
        self.may_pass = may_pass
        self.raised = raised


class RayLostError(WorkerError):
    """Ray itself is gone, its head or its process on this machine, and with it all workers."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message, log, may_pass=True)


class StalledError(WorkerError):
    """Workers live and tell nothing any more: ``ranks`` are stopped, or hang."""

    def __init__(self, message: str, log: str, ranks: Sequence[int]) -> None:
        super().__init__(message, log, may_pass=True)
        self.ranks = ranks


def reason(error: BaseException | None) -> str:
    """Why a run failed, for its record: of one that diverged where it did, else the whole error."""
    return error.found if isinstance(error, DivergedError) else str(error)
