"""What a rank of the conformance suite is given."""

import pytest

from distlab.backends.base import Placement
from distlab.conformance.rank import processes


@pytest.mark.parametrize(
    ("visible", "own"), [(None, ["0", "1"]), ("3,1,2", ["3", "1"]), ("2", ["2", ""])]
)
def test_each_rank_of_a_pair_has_one_of_the_gpus_that_may_be_used(
    visible: str | None, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    ranks = [
        Placement(rank, 2, rank, "gpu", ("127.0.0.1:1", "127.0.0.1:2"), 1) for rank in range(2)
    ]
    given = [processes._environment(rank, {}) for rank in ranks]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given] == own
    assert {one["CUDA_DEVICE_ORDER"] for one in given} == {"PCI_BUS_ID"}
