import json
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from distlab.environment import made_of
from distlab.errors import DistlabError


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (None, ["distlab==0.1.0"]),
        (
            {"url": "file:///a/distlab", "dir_info": {"editable": True}},
            ["--editable", "file:///a/distlab"],
        ),
        ({"url": "file:///a/distlab", "dir_info": {}}, ["distlab @ file:///a/distlab"]),
        ({"url": "file:///a/d.whl", "archive_info": {}}, ["distlab @ file:///a/d.whl"]),
        (
            {"url": "https://host/d.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["distlab @ git+https://host/d.git@abc"],
        ),
    ],
)
def test_distlab_comes_from_where_the_drivers_came(
    monkeypatch: pytest.MonkeyPatch, origin: Any, told: list[str]
) -> None:
    text = origin and json.dumps(origin)
    one = SimpleNamespace(version="0.1.0", read_text=lambda name: text)
    monkeypatch.setattr(made_of, "distribution", lambda name: one)
    assert made_of.own() == told


def test_a_framework_is_what_its_extra_names_or_the_version_asked_for() -> None:
    assert made_of.requirements("torch", "2.12.1", "cpu")[-2:] == [
        f"ray=={version('ray')}",
        "torch==2.12.1",
    ]
    assert made_of.extra("paddle", None) == ["paddlepaddle>=3.3"]
    assert made_of.distribution_of("tf") == "tensorflow"
    with pytest.raises(DistlabError, match="no such build of paddlepaddle"):
        made_of.distribution_of("paddle", "gpu")
    first, *others = made_of.extra("torch", "2.12.1", "gpu")
    assert first == "torch==2.12.1" and others


@pytest.mark.parametrize("framework", ["jax", "dev", "cpu"])
def test_what_has_no_extra_is_refused(framework: str) -> None:
    with pytest.raises(DistlabError, match="no extra"):
        made_of.requirements(framework, None, "cpu")
