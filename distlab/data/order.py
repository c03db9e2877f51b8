"""The order in which samples are consumed: a function of the seed, not of the number of workers.

Epoch ``e`` is one permutation of the training set; its global batches are consecutive slices, and
each rank takes its part of every slice. So 1, 2 and n workers at one global batch do the same
mathematics.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from distlab.errors import DistlabError

_STREAM = (0, 0, 0, 1)
"""Where the counter starts: the top word keeps these draws apart from others of the same key."""


def permutation(seed: int, index: int, samples: int) -> NDArray[np.int64]:
    """Permute the numbers below ``samples``, equally on every machine and NumPy version.

    The permutation sorts 64-bit draws of Philox4x64-10 (Salmon et al., "Parallel random numbers:
    as easy as 1, 2, 3", SC 2011). NumPy promises that a bit generator's raw stream never changes,
    and promises nothing of the kind for ``Generator.permutation`` (NEP 19). A tie, which would
    leave a pair in order, has probability below samples² / 2^65.

    Parameters
    ----------
    seed, index:
        The generator's key; both from 0 to 2^64 - 1.
    samples:
        How many numbers to permute.

    Returns
    -------
    numpy.ndarray
        int64 ``[samples]``.

    Raises
    ------
    OverflowError
        If the seed or the index is out of range.
    """
    key = np.array([seed, index], np.uint64)
    draws = np.random.Philox(key=key, counter=np.array(_STREAM, np.uint64)).random_raw(samples)
    return np.argsort(draws, kind="stable")


def epoch_order(seed: int, epoch: int, samples: int, global_batch: int) -> NDArray[np.int32]:
    """Order one epoch: which samples each optimizer step consumes, over all ranks.

    Parameters
    ----------
    seed, epoch:
        What the permutation is drawn from; each pair has one of its own.
    samples:
        Size of the training set.
    global_batch:
        Samples of one step over all ranks.

    Returns
    -------
    numpy.ndarray
        int32 ``[samples // global_batch, global_batch]``, C-contiguous; no sample twice. The last
        ``samples % global_batch`` samples of the permutation are left out of this epoch.

    Raises
    ------
    distlab.errors.DistlabError
        If there are fewer samples than one global batch needs, or the batch is not positive.
    """
    if not 0 < global_batch <= samples:
        raise DistlabError(
            asked=f"train with a global batch of {global_batch:,}",
            found=f"the training set has {samples:,} samples, so the global batch must lie "
            f"between 1 and {samples:,}",
            fix="a batch_size that fits, or fewer workers under weak scaling",
        )
    steps = samples // global_batch
    order = permutation(seed, epoch, samples)[: steps * global_batch]
    return order.astype(np.int32).reshape(steps, global_batch)


def shard(order: NDArray[np.int32], rank: int, world_size: int) -> NDArray[np.int32]:
    """Take one rank's part of every global batch.

    Parameters
    ----------
    order:
        int32 ``[steps, global_batch]``, from :func:`epoch_order`.
    rank, world_size:
        Which part of how many.

    Returns
    -------
    numpy.ndarray
        int32 ``[steps, global_batch // world_size]``, C-contiguous. The parts of all ranks, side
        by side in rank order, are ``order``.

    Raises
    ------
    distlab.errors.DistlabError
        If the global batch cannot be divided equally.
    ValueError
        If the rank is not below the world size.
    """
    global_batch = order.shape[1]
    check_divisible(global_batch, world_size)
    _check_rank(rank, world_size)
    local_batch = global_batch // world_size
    return np.ascontiguousarray(order[:, rank * local_batch : (rank + 1) * local_batch])


def evaluation_range(samples: int, rank: int, world_size: int) -> tuple[int, int]:
    """Share an evaluation out: contiguous ranges that cover each sample exactly once.

    Parameters
    ----------
    samples:
        Size of the test set.
    rank, world_size:
        Which range of how many.

    Returns
    -------
    tuple of int
        (start, stop) of this rank; sizes differ by at most 1, and a range is empty where there
        are more ranks than samples.

    Raises
    ------
    ValueError
        If the rank is not below the world size.
    """
    _check_rank(rank, world_size)
    return samples * rank // world_size, samples * (rank + 1) // world_size


def digest(orders: Iterable[NDArray[np.int32]]) -> str:
    """Hash the consumed sample ids.

    Parameters
    ----------
    orders:
        The ids in the order of consumption, int32 in any shape; how they are cut into arrays does
        not matter.

    Returns
    -------
    str
        SHA-256 (FIPS 180-4) of the ids as little-endian int32, in hexadecimal.
    """
    sha = hashlib.sha256()
    for order in orders:
        sha.update(np.ascontiguousarray(order, "<i4").tobytes())
    return sha.hexdigest()


def check_divisible(global_batch: int, world_size: int) -> None:
    """Make sure that all ranks can have equal parts of the global batch.

    Raises
    ------
    distlab.errors.DistlabError
        If they cannot; the error names the nearest batches that would do.
    """
    if global_batch > 0 and global_batch % world_size == 0:
        return
    below = global_batch // world_size * world_size
    nearest = [str(batch) for batch in (below, below + world_size) if batch > 0]
    raise DistlabError(
        asked=f"share a global batch of {global_batch} out to {world_size} workers",
        found=f"{global_batch} is not a positive multiple of {world_size}; the mean over ranks "
        "would not be the mean over samples",
        fix=f"a global batch of {' or '.join(nearest)}, or a number of workers that divides it",
    )


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is not in a world of {world_size}")
