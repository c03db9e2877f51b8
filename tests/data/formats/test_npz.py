"""NumPy files of four arrays: read within bounds, nothing in them is run, one clear error."""

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distlab.data.formats import npz
from distlab.errors import DistlabError

FOUR: dict[str, Any] = {
    "x_train": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "y_train": np.array([0, 1]),
    "x_test": np.zeros((1, 3, 4), np.float32),
    "y_test": np.array([[1]], np.int32),
}


def refusal(path: Path) -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        npz.read(path)
    assert str(path) in caught.value.asked
    assert "data.file=" in caught.value.fix and "data=mnist5k" in caught.value.fix
    return caught.value


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saved_is_read(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, **{**FOUR, "x_test": np.asfortranarray(FOUR["x_test"]), "other": np.ones(3)})
    for name, found in zip(npz.NAMES, npz.read(path), strict=True):
        np.testing.assert_array_equal(found, FOUR[name], strict=True)


class Pickled:
    """Would leave a file behind if its pickle were loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    held = np.array([Pickled(tmp_path / "ran")], object)
    np.savez(path, allow_pickle=True, **{**FOUR, "y_test": held})
    assert "y_test holds object" in refusal(path).found
    assert not (tmp_path / "ran").exists()


def member(name: str, content: bytes) -> bytes:
    whole = io.BytesIO()
    np.savez(whole, **{one: value for one, value in FOUR.items() if one != name})
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)
    return whole.getvalue()


def header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


LARGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 28, 28), }"
SHORT = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2, 2), }"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is none"),
        (b"PK\x03\x04" + bytes(40), "it is none"),
        (member("x_train", b"no array"), "x_train is none"),
        (member("x_train", header("{'descr': 1}")), "x_train is none"),
        (member("x_train", header(LARGE)), "announces 4000000000 x 28 x 28"),
        (member("x_train", header(SHORT) + b"123"), "ends after 3 bytes"),
        (member("x_train", header(SHORT) + bytes(17)), "more bytes follow"),
        (member("x_train", header(SHORT) + bytes(2**26)), "more bytes follow"),
        (member("x_train", header(SHORT.replace("u1", "S3"))), "x_train holds |S3"),
        (member("x_train", header(SHORT.replace("(4, 2, 2)", "()"))), "one number"),
    ],
)
def test_the_error_says_what_is_wrong_and_memory_is_bounded(
    tmp_path: Path, content: bytes, found: str
) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert found in refusal(path).found
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_missing_array_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=FOUR["x_train"], labels=FOUR["y_train"])
    assert "it has no x_train, it has images, labels" in refusal(path).found
    assert "No such file" in refusal(tmp_path / "none.npz").found


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, **FOUR)
    content = bytearray(whole.getvalue())
    entry = content.index(b"PK\1\2")
    content[entry + 9] |= 8  # the name is UTF-8
    content[entry + 46] = 0x98
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert "a sound zip of NumPy arrays" in refusal(path).found


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mutation_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = io.BytesIO()
    np.savez_compressed(whole, **FOUR)
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    try:
        npz.read(path)
    except DistlabError as error:
        assert str(path) in error.asked
