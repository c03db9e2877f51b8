from pathlib import Path

import numpy as np

from distlab.data import asked
from distlab.data.asked import DataOptions
from distlab.runs.session import Session


def test_files_are_loaded_once_whether_their_form_is_known_yet_or_not(tmp_path: Path) -> None:
    four = {"x_train": np.zeros((6, 4, 5), np.uint8), "x_test": np.zeros((3, 4, 5), np.uint8)}
    labels = {"y_train": np.arange(6) % 2, "y_test": np.arange(3) % 2}
    np.savez(tmp_path / "a.npz", **four, **labels)
    session, before = Session(), DataOptions("npz", file=str(tmp_path / "a.npz"))
    found = session.dataset(before, False)
    after = asked.told(before, found.form)
    assert (after.shape, after.classes) == ([1, 4, 5], 2)
    assert session.dataset(after, False) is found
