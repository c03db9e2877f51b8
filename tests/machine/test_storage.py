from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from distlab.machine.storage import is_shared


@pytest.mark.parametrize(
    ("address", "shared"),
    [
        ("s3://bucket/folder", True),
        ("gs://bucket", True),
        ("file:///mnt/all/states", True),
        ("/mnt/all/states", True),
        ("/mnt/all", True),
        ("/mnt/allies", False),
        ("file:///tmp/states", False),
        ("memory://states", False),
        ("states", False),
    ],
)
def test_what_other_machines_have_is_told_by_its_address_or_mount(
    address: str, shared: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = {"/": "ext4", "/mnt/all": "nfs4"}
    parts = [SimpleNamespace(mountpoint=path, fstype=kind) for path, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    monkeypatch.chdir(tmp_path)
    assert is_shared(address) is shared
