"""Who makes a run, with what, as which job: the tags that every run bears."""

import os
from typing import TYPE_CHECKING

from distlab import __version__
from distlab.outcome import environment

if TYPE_CHECKING:
    pass


JOB, VARIABLE = "ray_job", "DISTLAB_JOB"
"""The tag, and the variable of a command that a job of Ray runs, that say which job that is."""


def origin() -> dict[str, str]:
    """Who makes a run with what, as tags."""
    commit = environment.git_commit()
    return {
        "mlflow.user": environment.user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "distlab.launch",
        "distlab_version": __version__,
        **({"mlflow.source.git.commit": commit} if commit else {}),
        **job_tag(),
    }


def job_tag() -> dict[str, str]:
    """The tag by which a job's runs are found; none where this command is no job."""
    job = os.environ.get(VARIABLE)
    return {JOB: job} if job else {}
