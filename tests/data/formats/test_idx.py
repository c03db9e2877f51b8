import gzip
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from distlab.data.formats import idx
from distlab.errors import DistlabError

Encode = Callable[..., bytes]
arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
fuzz = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refusal(path: Path) -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        idx.read(path)
    assert str(path) in caught.value.asked
    assert "expected" in caught.value.found
    assert "data=mnist5k" in caught.value.fix
    assert "data.dir=" in caught.value.fix
    return caught.value


@fuzz
@given(array=arrays, compress=st.booleans())
def test_reads_what_was_encoded(
    tmp_path: Path, encode: Encode, array: NDArray[np.uint8], compress: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode(array, compress))
    found = idx.read(path)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array, strict=True)


def test_the_format_is_the_published_one(tmp_path: Path) -> None:
    # The first bytes of t10k-labels as the MNIST page lists them, cut to three labels.
    path = tmp_path / "labels"
    path.write_bytes(bytes.fromhex("00000801 00000003 07 02 01"))
    assert idx.read(path).tolist() == [7, 2, 1]


def assert_sound_or_refused(path: Path, content: bytes, encode: Encode) -> None:
    """Whatever the bytes: the array that they encode, or a DistlabError."""
    path.write_bytes(content)
    try:
        array = idx.read(path)
    except DistlabError as error:
        assert str(path) in error.asked
    else:
        gzipped = content.startswith(b"\x1f\x8b")
        assert encode(array) == (gzip.decompress(content) if gzipped else content)


prefixes = st.sampled_from(
    [b"", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\0\0\x0d\x03", b"\x1f\x8b\x08"]
)


@fuzz
@given(prefix=prefixes, tail=st.binary(max_size=200), compress=st.booleans())
@example(prefix=b"\0\0\x08\x03", tail=b"\0\0\0\0" + b"\xff" * 8, compress=False)
@example(prefix=b"\0\0\x08\x01", tail=b"\0\0\0\x01\x05", compress=True)
def test_any_bytes(
    tmp_path: Path, encode: Encode, prefix: bytes, tail: bytes, compress: bool
) -> None:
    content = gzip.compress(prefix + tail) if compress else prefix + tail
    assert_sound_or_refused(tmp_path / "file", content, encode)


@fuzz
@given(array=arrays, compress=st.booleans(), data=st.data())
def test_any_mutation(
    tmp_path: Path, encode: Encode, array: NDArray[np.uint8], compress: bool, data: st.DataObject
) -> None:
    content = bytearray(encode(array, compress))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        until = data.draw(st.integers(at, min(len(content), at + 8)))
        content[at:until] = data.draw(st.binary(max_size=8))
    assert_sound_or_refused(tmp_path / "file", bytes(content), encode)


@pytest.mark.parametrize("compress", [False, True])
def test_every_truncation_is_refused(tmp_path: Path, encode: Encode, compress: bool) -> None:
    whole = encode(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), compress)
    path = tmp_path / "file"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        refusal(path)


@pytest.mark.parametrize("compress", [False, True])
def test_trailing_bytes_are_refused(tmp_path: Path, encode: Encode, compress: bool) -> None:
    content = encode(np.ones(3, np.uint8)) + b"x"
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if compress else content)
    assert "more bytes follow" in refusal(path).found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it begins with nothing"),
        (b"<!DOCTYPE html>", "it begins with 3c 21 44 4f"),
        (bytes.fromhex("00000c01 00000001 00000000"), "type 0x0c"),
        (bytes.fromhex("00000800 07"), "dimensions"),
        (bytes.fromhex("00000805" + 5 * "00000001" + "07"), "dimensions"),
        (bytes.fromhex("00000803 00000001"), "within the header"),
        (bytes.fromhex("00000801 00000000"), "announces 0"),
        (
            bytes.fromhex("00000803 00000002 00000002 00000002 01020304"),
            "after 4 bytes of them",
        ),
        (b"\x1f\x8b" + b"\0" * 40, "corrupt"),
    ],
)
def test_the_error_says_what_is_wrong(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert found in refusal(path).found


def test_a_flipped_bit_in_a_gzip_stream_is_seen(tmp_path: Path, encode: Encode) -> None:
    content = bytearray(encode(np.arange(200, dtype=np.uint8), compress=True))
    content[-6] ^= 1  # in the CRC
    path = tmp_path / "file"
    path.write_bytes(content)
    assert "corrupt" in refusal(path).found


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent").found
    assert "directory" in refusal(tmp_path).found


def compressed_zeros(header: bytes, zeros: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [deflate.compress(header)]
    pieces += [deflate.compress(bytes(2**20)) for _ in range(zeros // 2**20)]
    return b"".join([*pieces, deflate.flush()])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "shape", [(2**32 - 1, 2**32 - 1, 2**32 - 1), (2**28 + 1,), (2**28,), (342_393, 28, 28)]
)
def test_memory_follows_the_content_not_the_header(
    tmp_path: Path, shape: tuple[int, ...], compress: bool
) -> None:
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(header + b"1234") if compress else header + b"1234")
    tracemalloc.start()
    try:
        refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_memory_is_bounded_where_a_small_file_inflates(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(compressed_zeros(bytes.fromhex("00000801 00000010"), 64 * 2**20))
    tracemalloc.start()
    try:
        assert "more bytes follow" in refusal(path).found
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_file_that_is_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(gzip.compress(bytes.fromhex("00000801 00000001 05")))
    os.truncate(path, 2**42)  # zeros without end behind a sound stream, which gzip allows
    assert "it has 4,398,046,511,104 bytes" in refusal(path).found


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t10k-labels-idx1-ubyte"
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe") if "link" in kind else (tmp_path / "pipe").rename(path)
    assert "no regular file" in refusal(path).found


def test_a_link_to_a_file_is_followed(tmp_path: Path, encode: Encode) -> None:
    (tmp_path / "file").write_bytes(encode(np.arange(3, dtype=np.uint8)))
    (tmp_path / "link").symlink_to("file")
    assert idx.read(tmp_path / "link").tolist() == [0, 1, 2]
