from collections.abc import Callable

from distlab.experiment.experiment import Experiment
from distlab.machine.cores import usable
from distlab.outcome.caveats import Code
from distlab.runs.shown.announcement import foreseen


def test_more_threads_than_the_cores_that_may_be_used_are_foreseen(
    experiment: Callable[..., Experiment],
) -> None:
    cores = len(usable().allowed)
    assert foreseen(experiment("gpus=1")) is None or usable().usable < 1
    for options in (
        [f"gpus={cores + 1}"],
        ["gpus=1", f"threads_per_worker={cores + 1}"],
        ["gpus=2", f"threads_per_worker={cores}"],
    ):
        found = foreseen(experiment(*options))
        assert found is not None and found.code is Code.oversubscribed, options
        assert found.detail.endswith("of this machine")


def test_of_a_cluster_it_is_not_known_where_ranks_will_be(
    experiment: Callable[..., Experiment],
) -> None:
    assert foreseen(experiment("gpus=4096", "cluster=existing")) is None
