"""What a rank imports, what it prints, and where that goes."""

import subprocess
import sys
from pathlib import Path

import fresh_process

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


def test_a_worker_starts_without_what_only_the_driver_needs() -> None:
    program = "import sys, distlab.cluster.actor; print(*sys.modules)"
    loaded = fresh_process.run(program).stdout.split()
    assert "distlab.worker.loop" in loaded
    assert not {"hydra", "mlflow", "matplotlib", "pandas", "pydantic", "scipy"} & set(loaded)


def test_output_goes_to_the_runs_folder(tmp_path: Path) -> None:
    printed(tmp_path / "a" / "logs", tmp_path)
    assert (tmp_path / "a" / "logs" / "rank-0.log").read_text() == "of native code"


def test_where_that_folder_cannot_be_it_goes_to_a_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    printed(tmp_path / "file" / "logs", tmp_path)
    (log,) = tmp_path.glob("distlab-logs-*/rank-0.log")
    assert log.read_text() == "of native code"
    assert log.with_suffix(".where").read_text() == str(log)
