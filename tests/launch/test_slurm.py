"""The Slurm file, submitted to a real slurmctld with two slurmds, each on a host of its own."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hosts
import pytest
from command import SMALL_JOB

FILE = Path(__file__).parents[2] / "launch" / "slurm.sbatch"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=red(10.77.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/%n.spool
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SelectType=select/cons_tres
NodeName=red NodeAddr=10.77.0.1 CPUs=2
NodeName=blue NodeAddr=10.77.0.2 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = [
    pytest.mark.slow,
    hosts.needed,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)),
        reason="NOT TRIED ON SLURM: apt-get install slurm-wlm munge",
    ),
]


@pytest.fixture
def login(tmp_path: Path) -> Iterator[hosts.Host]:
    """The node where users of a Slurm of two nodes submit their jobs."""
    (tmp_path / "state").mkdir()
    configuration = tmp_path / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path))
    key = tmp_path / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    files = [f"--{kind}-file={tmp_path}/munge.{kind}" for kind in ("pid", "log", "seed")]
    with hosts.two(tmp_path) as (red, blue), ExitStack() as stack:
        red.start(*munge, f"--socket={tmp_path}/munge.socket", *files)
        environment = {"SLURM_CONF": str(configuration)}
        red.start("slurmctld", "-D", environment=environment)
        for host in (red, blue):
            host.start("slurmd", "-D", "-N", host.name, environment=environment)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("SLURM_CONF", str(configuration))
        yield red


def test_a_job_trains_on_both_nodes_and_ends_with_its_ray(
    login: hosts.Host, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    # Each node has two cores: one of the three workers is on another node than the others.
    words = (*SMALL_JOB, "gpus=3", "epochs=1", "cluster.start_timeout_s=600")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = login.start(
        *("sbatch", "--wait", "--nodes=2", FILE, *words), environment={"PATH": path}, cwd=folder
    )
    code = job.wait()
    assert code == 0, (folder / "distlab-1.log").read_text()
    (file,) = folder.glob("outputs/*/*/summary.json")
    summary = json.loads(file.read_text())
    assert summary["verified"], summary["checks"]
    assert summary["world_size"] == 3
