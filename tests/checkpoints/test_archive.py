import io

import numpy as np
import pytest

from distlab.checkpoints.archive import DamagedError, packed, unpacked

ARRAYS = {
    "a/one": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([], np.int32),
    "c": np.array(7.5, np.float32),
}
ABOUT = {"epoch": 3, "text": "größer"}


def test_what_is_packed_comes_back_bit_for_bit() -> None:
    special = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    about, arrays = unpacked(packed(ABOUT, {**ARRAYS, "special": special}))
    assert about == ABOUT
    for name, array in {**ARRAYS, "special": special}.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_numpy_alone_reads_it_and_nothing_in_it_is_a_pickle() -> None:
    with np.load(io.BytesIO(packed(ABOUT, ARRAYS)), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["a/one"], ARRAYS["a/one"])
    with pytest.raises(AssertionError):
        packed(ABOUT, {"object": np.array([{}], object)})


def test_every_damaged_byte_and_every_cut_is_seen() -> None:
    whole = packed({}, {"a": np.arange(3, dtype=np.float32)})
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        try:
            about, arrays = unpacked(bytes(damaged))
        except DamagedError:
            continue
        # A flag or a date of the zip file, which changes nothing of what is in it.
        assert about == {} and arrays["a"].tobytes() == np.arange(3, dtype=np.float32).tobytes()
    for length in range(0, len(whole), 13):
        with pytest.raises(DamagedError):
            unpacked(whole[:length])


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04"])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        unpacked(data)


def test_other_values_with_right_checksums_of_zip_are_seen() -> None:
    file = io.BytesIO()
    with np.load(io.BytesIO(packed(ABOUT, ARRAYS))) as found:
        entries = {name: found[name] for name in found.files}
    entries["b"] = np.array([1], np.int32)
    np.savez(file, **entries)
    with pytest.raises(DamagedError, match="SHA-256"):
        unpacked(file.getvalue())


def test_a_compressed_entry_is_refused_before_it_takes_memory() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(1_000_000))
    with pytest.raises(DamagedError, match="compressed"):
        unpacked(file.getvalue())
