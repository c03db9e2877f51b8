from dataclasses import replace
from typing import Any

import pytest

from distlab.experiment.frameworks.named import unnamed
from distlab.experiment.options import FrameworkOptions


@pytest.fixture
def shipped(compose: Any) -> FrameworkOptions:
    """Paddle as its own file has it, with variables."""
    from distlab.experiment.validate import validate

    return validate(compose("framework=paddle")).framework


def test_what_the_installation_names_is_taken(shipped: FrameworkOptions) -> None:
    assert shipped.env
    assert unnamed(shipped) == []


def test_a_setting_that_the_framework_names_may_have_another_value(
    shipped: FrameworkOptions,
) -> None:
    assert unnamed(replace(shipped, env={"MKL_DEBUG_CPU_TYPE": "5"})) == []


def test_code_that_nobody_here_names_is_found(shipped: FrameworkOptions) -> None:
    planted = replace(
        shipped,
        name="planted.module:Backend",
        env={"LD_PRELOAD": "/tmp/planted.so"},
        runtime_env={"py_executable": "/tmp/planted"},
    )
    assert unnamed(planted) == [
        "framework.name=planted.module:Backend",
        "framework.env.LD_PRELOAD=/tmp/planted.so",
        "framework.runtime_env={'py_executable': '/tmp/planted'}",
    ]


def test_a_path_to_an_environment_is_code_and_a_name_is_this_users_own(
    shipped: FrameworkOptions,
) -> None:
    for name in ("auto", "paddle-3.3.1", None):
        assert unnamed(replace(shipped, environment=name)) == []
    for path in ("/tmp/planted", "~/planted", "../planted"):
        found = unnamed(replace(shipped, environment=path))
        assert found == [f"framework.environment={path}"]


def test_a_variable_of_the_commands_own_environment_is_named(
    shipped: FrameworkOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(shipped, env={"NOTE": "mine"})
    monkeypatch.setenv("NOTE", "another's")
    assert unnamed(one) == ["framework.env.NOTE=mine"]
    monkeypatch.setenv("NOTE", "mine")
    assert unnamed(one) == []


def test_an_installed_package_names_its_backend(
    thread_framework: Any, shipped: FrameworkOptions
) -> None:
    assert unnamed(replace(shipped, name="threads", env={})) == []
    assert unnamed(replace(shipped, name="threads", env={"A": "1"})) == ["framework.env.A=1"]
