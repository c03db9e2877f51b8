"""Hosts that share this machine: each has a network, a name, processes and a memory of its own.

They are namespaces of Linux, joined by a pair of network devices. Root alone can make them.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CABLE = "cable"
"""What each host calls its end of the cable."""
TOOLS = ("unshare", "nsenter", "ip")

# The first process of a host: with it all others end. Ray's folders are in /tmp and /dev/shm.
FIRST = """
set -e
hostname {name}
mkdir -p /tmp/ray
mount -t tmpfs tmpfs /tmp/ray
mount -t tmpfs tmpfs /dev/shm
mount --bind {hosts} /etc/hosts
ip link set lo up
touch {ready}
exec bash -c "sleep infinity & wait"  # bash buries the dead, whoever left them
"""

needed = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, TOOLS)),
    reason=f"NOT TRIED ON SEVERAL HOSTS: needs root and {', '.join(TOOLS)}",
)


@dataclass
class Host:
    """A host: its name, its address, and how a program is started there."""

    name: str
    address: str
    folder: Path
    first: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def pid(self) -> int:
        """Of the host's first process, as this machine sees it."""
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text()
        return int(children.split()[0])

    def start(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a program on the host; what it prints goes to a file."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--uts", "--pid", "--mount"]
        there = ["--", "env", f"--chdir={cwd or self.folder}", *map(str, command)]
        with (log or self.folder / f"{Path(command[0]).name}.log").open("ab") as output:
            return subprocess.Popen(
                [*enter, *there],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ip(self, *words: str, check: bool = True) -> None:
        """Run ``ip`` in the host's network."""
        inside = ["nsenter", "--target", str(self.pid), "--net"]
        subprocess.run([*inside, "ip", *words], check=check, stderr=subprocess.PIPE)

    def call(self, *names: str) -> None:
        """What ``/etc/hosts`` says besides ``localhost``, from now on."""
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")

    def unplug(self) -> None:
        """Pull the cable: the host goes on, and nobody reaches it."""
        self.ip("link", "set", CABLE, "down", check=False)

    def plug(self) -> None:
        """Put the cable in again."""
        self.ip("link", "set", CABLE, "up")

    def end(self) -> None:
        """Take the power away: every process of the host ends at once, and nobody reaches it."""
        if self.first.poll() is None:
            self.unplug()
        self.first.kill()
        self.first.wait()


@contextmanager
def two(folder: Path, lines: Sequence[str] = ()) -> Iterator[tuple[Host, Host]]:
    """Two hosts, ``red`` (10.77.0.1) and ``blue`` (10.77.0.2), joined by a cable.

    ``lines`` are what ``/etc/hosts`` says of their names, if not the truth; ``{name}`` is the
    host's own.
    """
    addresses = {"red": "10.77.0.1", "blue": "10.77.0.2"}
    truth = [f"{address} {name}" for name, address in addresses.items()]
    with ExitStack() as stack:
        hosts = []
        for name, address in addresses.items():
            own = folder / name
            own.mkdir(parents=True)
            script = FIRST.format(name=name, hosts=own / "hosts", ready=own / "ready")
            spaces = ["--net", "--uts", "--pid", "--mount", "--fork", "--kill-child"]
            (own / "hosts").touch()
            first = subprocess.Popen(["unshare", *spaces, "--mount-proc", "sh", "-c", script])
            host = Host(name, address, own, first)
            host.call(*(line.format(name=name) for line in lines or truth))
            stack.callback(host.end)
            hosts.append(host)
        for host in hosts:
            while not (host.folder / "ready").exists():
                assert host.first.poll() is None, f"the host {host.name} could not be made"
                time.sleep(0.02)
            # A cable ends with the network at either end: one that is held outlives its host.
            network = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
            stack.callback(os.close, network)
        red, blue = hosts
        ends = [["name", CABLE, "netns", str(host.pid)] for host in hosts]
        subprocess.run(
            ["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True
        )
        for host in hosts:
            host.ip("address", "add", f"{host.address}/24", "dev", CABLE)
            host.plug()
        yield red, blue
