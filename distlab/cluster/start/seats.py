"""Whether workers that Ray has started may be ranks: which distlab they run, who can reach them."""

from collections.abc import Sequence

from distlab.cluster.actor import Seat
from distlab.cluster.start import local_ray
from distlab.errors import DistlabError
from distlab.experiment.options import ClusterMode, Options
from distlab.outcome import environment


def check(seats: Sequence[Seat], options: Options) -> None:
    """Refuse workers with another distlab or network, or that others of this machine could reach.

    Raises
    ------
    DistlabError
        With what is wrong with them.
    """
    if options.cluster.mode is ClusterMode.existing:
        others = [seat for seat in seats if seat.code != environment.code()]
        if others:
            raise DistlabError(
                f"workers of this command's distlab {environment.code()}",
                f"on {others[0].host} it is {others[0].code}",
                "install the same distlab on each node of Ray",
            )
        asked = options.network.interface
        without = [seat for seat in seats if asked and seat.interface is None]
        if without:
            raise DistlabError(
                f"network.interface={asked}",
                f"{without[0].host} has no such interface with an IPv4 address; it has "
                f"{without[0].interfaces}",
                "one that each host has under this name\n"
                "or what Ray found: {command} network.interface=null",
            )
        return
    guarded = all(seat.guarded for seat in seats)
    if len(seats) > 1 and not guarded and not options.cluster.open_ports:
        why = local_ray.unguarded or "their Python was started without it"
        raise DistlabError(
            f"{len(seats)} workers that no other user of this machine can connect to",
            f"what keeps strangers out is not loaded into them: {why}",
            "install a C compiler: apt-get install gcc libc6-dev\n"
            "where you trust whoever is on this machine: cluster.open_ports=true\n"
            "or one worker, which listens for nobody: gpus=1",
        )
