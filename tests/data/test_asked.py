"""What may be asked of data; ten mistakes and what they get."""

from typing import Any

import pytest

from distlab.data import asked
from distlab.data.asked import DataOptions
from distlab.data.dataset import Form
from distlab.errors import DistlabError

NOISE: dict[str, Any] = {"shape": [3, 8, 8], "classes": 5, "samples": 20, "test_samples": 10}


@pytest.mark.parametrize(
    ("options", "told", "found", "fix"),
    [
        ({"name": "cifar"}, "data.name=cifar", "cifar10", "data=mnist"),
        ({"name": "mnist5k", "dir": "/a"}, "data.dir=/a", "embedded", "data=mnist data.dir=/a"),
        (
            {"name": "mnist", "file": "/a"},
            "data.file=/a",
            "takes data.dir",
            "data=npz data.file=/a",
        ),
        ({"name": "npz"}, "data=npz", "needs data.file", "data=npz data.file="),
        ({"name": "idx"}, "data=idx", "needs data.dir", "data=idx data.dir="),
        ({"name": "emnist", "split": "letter"}, "data.split=letter", "letters", "data.split="),
        ({"name": "npz", "file": "/a", "layout": "hwc"}, "data.layout=hwc", "nchw", "nhwc"),
        (
            {"name": "cifar10", "shape": [3, 32, 32]},
            "data.shape=[3,32,32]",
            "its files say",
            "data=cifar10 data.shape=null",
        ),
        ({"name": "synthetic", **NOISE, "shape": [32, 32]}, "[32,32]", "channels", "[3,32,32]"),
        ({"name": "synthetic", **NOISE, "classes": 1}, "data.classes=1", "2 to", "data.classes=10"),
        ({"name": "mnist", "samples": 0}, "data.samples=0", "count from 1", "data.samples=2000"),
        (
            {"name": "synthetic", **NOISE, "shape": [3, 224, 224], "samples": 100_000},
            "data.samples=100000",
            "1,073,741,824 bytes",
            "data.samples=7133",
        ),
        ({"name": "synthetic", "samples": 9}, "data=synthetic", "needs data.shape", "data.shape="),
    ],
)
def test_a_mistake_gets_one_error_and_a_way_out(
    options: dict[str, Any], told: str, found: str, fix: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        asked.check(DataOptions(**options))
    assert told in caught.value.asked
    assert found in caught.value.found
    assert fix in caught.value.fix


def test_options_alone_tell_the_form_but_of_files() -> None:
    assert asked.form(DataOptions("mnist5k")) == Form((1, 28, 28), 10)
    assert asked.form(DataOptions("emnist", split="byclass")) == Form((1, 28, 28), 62)
    assert asked.form(DataOptions("cifar10")) == Form((3, 32, 32), 10)
    assert asked.form(DataOptions("synthetic", **NOISE)) == Form((3, 8, 8), 5)
    files = DataOptions("npz", file="/a")
    assert asked.form(files) is None
    assert asked.form(asked.told(files, Form((1, 2, 3), 4))) == Form((1, 2, 3), 4)


def test_every_data_set_may_be_cut_short() -> None:
    for name in set(asked.NAMES) - {"synthetic", "idx", "npz", "emnist"}:
        asked.check(DataOptions(name, samples=5, test_samples=5))
