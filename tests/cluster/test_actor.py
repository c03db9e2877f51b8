"""What a rank prints, and where it goes."""

import subprocess
import sys
from pathlib import Path

PRINTING = """
import os, sys
from pathlib import Path
from distlab.cluster.actor import _redirect_output
where = _redirect_output(Path(sys.argv[1]), "rank-0.log")
os.write(2, b"of native code")
where.with_suffix(".where").write_text(str(where))
"""


def printed(folder: Path, temporary: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", PRINTING, str(folder)],
        check=True,
        env={"TMPDIR": str(temporary), "PYTHONPATH": ":".join(filter(None, sys.path))},
    )


def test_output_goes_to_the_runs_folder(tmp_path: Path) -> None:
    printed(tmp_path / "a" / "logs", tmp_path)
    assert (tmp_path / "a" / "logs" / "rank-0.log").read_text() == "of native code"


def test_where_that_folder_cannot_be_it_goes_to_a_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    printed(tmp_path / "file" / "logs", tmp_path)
    (log,) = tmp_path.glob("distlab-logs-*/rank-0.log")
    assert log.read_text() == "of native code"
    assert log.with_suffix(".where").read_text() == str(log)
