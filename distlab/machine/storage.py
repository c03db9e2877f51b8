"""Whether a folder is one that other machines have, too."""

import re
from pathlib import Path

import psutil

HERE = ("file", "local", "memory")
"""Kinds of addresses of what this machine alone has (fsspec's names)."""
NETWORK = re.compile(
    r"nfs|cifs|smb|sshfs|juicefs|wekafs|panfs|lustre|gpfs|beegfs|ceph|gluster|afs|orangefs|s3|gcs|blob"
)
"""File systems of networks, by parts of the names that Linux has for them."""


def is_shared(address: str) -> bool:
    """Whether an address is of an object store, or of a folder on a file system of a network."""
    kind, _, rest = address.rpartition("://")
    if kind and kind not in HERE:
        return True
    path = Path(rest).expanduser().resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    nearest = next((mounts[one] for one in (path, *path.parents) if one in mounts), "")
    return NETWORK.search(nearest) is not None
