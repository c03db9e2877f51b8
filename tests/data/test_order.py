import hashlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from distlab.data import order
from distlab.errors import DistlabError

seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 10_000)
worlds = st.integers(1, 16)


@given(seed=seeds, epoch=epochs, samples=st.integers(1, 500), data=st.data())
def test_each_sample_at_most_once_and_the_last_part_batch_dropped(
    seed: int, epoch: int, samples: int, data: st.DataObject
) -> None:
    batch = data.draw(st.integers(1, samples))
    ids = order.epoch_order(seed, epoch, samples, batch)
    assert ids.dtype == np.int32
    assert ids.flags.c_contiguous
    assert ids.shape == (samples // batch, batch)
    assert len(np.unique(ids)) == ids.size
    assert ids.min() >= 0
    assert ids.max() < samples
    if samples % batch == 0:
        assert np.array_equal(np.sort(ids, axis=None), np.arange(samples))


@given(seed=seeds, epoch=epochs, world=worlds, local=st.integers(1, 8), steps=st.integers(1, 9))
def test_every_world_size_consumes_the_same_global_batches(
    seed: int, epoch: int, world: int, local: int, steps: int
) -> None:
    ids = order.epoch_order(seed, epoch, steps * world * local + world - 1, world * local)
    shards = [order.shard(ids, rank, world) for rank in range(world)]
    assert all(part.flags.c_contiguous and part.dtype == np.int32 for part in shards)
    assert all(part.shape == (len(ids), local) for part in shards)
    np.testing.assert_array_equal(np.concatenate(shards, axis=1), ids)
    assert order.digest([np.concatenate(shards, axis=1)]) == order.digest([ids])


@given(seed=seeds, epoch=epochs, samples=st.integers(2, 300), data=st.data())
def test_the_permutation_does_not_depend_on_the_batch(
    seed: int, epoch: int, samples: int, data: st.DataObject
) -> None:
    batch = data.draw(st.integers(1, samples))
    flat = order.epoch_order(seed, epoch, samples, batch).ravel()
    whole = order.epoch_order(seed, epoch, samples, samples).ravel()
    np.testing.assert_array_equal(flat, whole[: flat.size])


@given(first=st.tuples(seeds, epochs), second=st.tuples(seeds, epochs))
def test_epochs_and_seeds_differ(first: tuple[int, int], second: tuple[int, int]) -> None:
    assume(first != second)
    orders = [order.epoch_order(*key, samples=100, global_batch=10) for key in (first, second)]
    assert not np.array_equal(*orders)
    assert order.digest(orders[:1]) != order.digest(orders[1:])
    again = order.epoch_order(*first, samples=100, global_batch=10)
    np.testing.assert_array_equal(orders[0], again)


def test_the_order_never_changes_between_versions() -> None:
    assert order.permutation(0, 0, 10).tolist() == [8, 7, 4, 2, 6, 5, 9, 0, 1, 3]
    ids = order.epoch_order(seed=42, epoch=3, samples=60_000, global_batch=64)
    assert order.digest([ids]) == (
        "24cfcde58938c00b6b79d6919e189e12849f66380623e3f75850ac5b284c43a9"
    )


def test_every_position_is_equally_likely() -> None:
    places = np.array([order.permutation(7, epoch, 10) for epoch in range(4000)])
    counts = np.apply_along_axis(np.bincount, 0, places, minlength=10)
    # For random permutations, 9/10 of the sum is chi-square with 9 x 9 degrees of freedom, whose
    # 99.99 % quantile is 137.
    assert 0.9 * ((counts - 400) ** 2 / 400).sum() < 137


@given(samples=st.integers(0, 300), world=st.integers(1, 400))
def test_an_evaluation_covers_each_sample_once(samples: int, world: int) -> None:
    ranges = [order.evaluation_range(samples, rank, world) for rank in range(world)]
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(samples))
    sizes = [stop - start for start, stop in ranges]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 0


@given(world=worlds, batch=st.integers(-3, 400))
def test_only_an_equal_share_is_accepted(world: int, batch: int) -> None:
    if batch > 0 and batch % world == 0:
        order.check_divisible(batch, world)
        return
    with pytest.raises(DistlabError) as caught:
        order.check_divisible(batch, world)
    assert str(batch) in caught.value.asked


def test_an_unequal_share_names_the_batches_that_would_do() -> None:
    with pytest.raises(DistlabError, match="global batch of 63 or 66"):
        order.check_divisible(64, 3)
    with pytest.raises(DistlabError, match="global batch of 4,"):
        order.check_divisible(2, 4)
    with pytest.raises(DistlabError):
        order.shard(np.zeros((2, 64), np.int32), rank=0, world_size=3)


@pytest.mark.parametrize("batch", [0, -1, 101])
def test_a_batch_that_does_not_fit_is_refused(batch: int) -> None:
    with pytest.raises(DistlabError, match="100 samples"):
        order.epoch_order(seed=0, epoch=0, samples=100, global_batch=batch)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(OverflowError):
        order.permutation(seed, 0, 10)


@pytest.mark.parametrize("rank", [-1, 4])
def test_a_rank_outside_the_world_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="world of 4"):
        order.evaluation_range(10, rank, 4)
    with pytest.raises(ValueError, match="world of 4"):
        order.shard(np.zeros((2, 8), np.int32), rank, 4)


def test_the_digest_is_over_little_endian_ids_however_they_are_cut() -> None:
    ids = np.array([[1, 2], [3, 258]], np.int32)
    expected = hashlib.sha256(bytes.fromhex("01000000 02000000 03000000 02010000")).hexdigest()
    assert order.digest([ids]) == order.digest(iter([ids[:1], ids[1:]])) == expected
    assert order.digest([ids.astype(">i4")]) == expected
    assert order.digest([ids[:, ::-1]]) != expected
