from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from distlab.errors import DistlabError
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


def test_a_backend_that_no_package_offers(compose: Compose) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework.name=abacus"))
    assert "abacus" in caught.value.asked and "torch" in caught.value.found


def test_a_framework_that_is_not_installed_names_the_extra(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no environment that a user has made
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework=torch", "framework.package=torch_that_is_missing"))
    assert "torch_that_is_missing is not installed" in caught.value.found
    create = "python -m distlab.environment create torch"
    assert caught.value.fix == f'pip install "distlab[torch]"\nor: {create}'


def test_a_study_goes_on_where_the_default_framework_is_not_installed(compose: Compose) -> None:
    missing = ["framework=torch", "framework.package=torch_that_is_missing"]
    assert validate(compose(*missing, "study=abc")).study == "abc"


def test_a_framework_in_an_environment_of_its_own_need_not_be_installed_here(
    compose: Compose,
) -> None:
    elsewhere = "+framework.runtime_env.py_executable=/opt/tf/bin/python"
    validate(compose("framework.package=torch_that_is_missing", elsewhere))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["framework.version=2.13.0;rm"], "numbers with dots"),
        (["framework.environment='a b'"], "or a path"),
        (["framework.environment=a", "+framework.runtime_env.pip=[]"], "each of them"),
        (["framework.version=0.0.1"], "this Python has torch 2"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(
    compose: Compose,
    words: list[str],
    found: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DistlabError, match=found):
        validate(compose(*words))


def test_a_default_for_an_unknown_model_is_refused(compose: Compose) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework=torch", "+framework.execution_by_model.resnet=graph"))
    assert caught.value.asked == "framework.execution_by_model.resnet=graph"
    assert "mlp" in caught.value.found and "lenet5" in caught.value.fix


def test_a_default_that_the_framework_does_not_run_is_refused(compose: Compose) -> None:
    only = "framework.executions=[eager]"
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework=torch", only, "+framework.execution_by_model.lenet5=graph"))
    assert caught.value.found == "torch runs eager only"
    assert caught.value.fix == "framework.execution_by_model.lenet5=eager"
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework=torch", only, "execution=graph"))
    assert caught.value.fix == "execution=eager"
