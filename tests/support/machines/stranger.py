"""Another user of the machine, who is nobody: what such a one sees, hears and says."""

import os
import subprocess
import sys

import pytest

UID = 65534
BECOME = f"import encodings.idna, os, socket, sys; os.setgroups([]); os.setuid({UID})\n"
"""Python may be installed where only root may read: what is needed late is imported before."""

two_users = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: root alone can be two users")


def command(code: str, *arguments: str, stranger: bool = True) -> list[str]:
    """A Python program as a command, which a stranger runs, or else this user."""
    become = BECOME if stranger else "import os, socket, sys\n"
    return [sys.executable, "-I", "-c", become + code, *arguments]


def told(code: str, *arguments: str, stranger: bool = True) -> str:
    """What it prints, or complains of."""
    ran = command(code, *arguments, stranger=stranger)
    done = subprocess.run(ran, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip()
