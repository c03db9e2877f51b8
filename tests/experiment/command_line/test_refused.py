import shlex
import sys
from collections.abc import Callable

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distlab.errors import DistlabError
from distlab.experiment.command_line import words
from distlab.experiment.command_line.refused import refused
from distlab.experiment.validate import validate

HELP = "python -m distlab.launch --help"


@pytest.fixture
def refusal(
    compose: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], DistlabError]:
    """What is said of a command line that Hydra refuses."""

    def told(typed: str) -> DistlabError:
        monkeypatch.setattr(sys, "argv", ["distlab", *shlex.split(typed)])
        given = [word for word in words.understood(sys.argv[1:]) if word != "-m"]
        with pytest.raises((HydraException, OmegaConfBaseException)) as raised:
            validate(compose(*given))
        return refused(raised.value)

    return told


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("epoch=3 gpus=1", "epochs=3 gpus=1"),
        ("data.dri=/x", "data.dir=/x"),
        ("'data.dri=/tmp/é b'", "'data.dir=/tmp/é b'"),
        ("framwork=torch", "framework=torch"),
        ("framework=pytorch", "framework=torch"),
        ("framework=tensorflow device=cpu", "framework=tf device=cpu"),
        ("framework=paddlepaddle", "framework=paddle"),
        ("model=LeNet5", "model=lenet5"),
        ("experiment=quickstrt", "experiment=quickstart"),
        ("repeats=two", "repeats=1"),
        ("' repeats = two'", "repeats=1"),
        ("'learning_rate=0.1 (x)'", "learning_rate=0.001"),
        ("measure_exchange=maybe", "measure_exchange=true"),
        ("scaling=Strong", "scaling=strong"),
        ("+epochs=3", "epochs=3"),
    ],
)
def test_the_fix_is_the_command_mended(
    refusal: Callable[[str], DistlabError],
    compose: Callable[..., DictConfig],
    typed: str,
    meant: str,
) -> None:
    error = refusal(typed)
    assert error.asked == words.command(shlex.split(typed))
    assert error.fix == f"python -m distlab.launch {meant}\n{HELP}"
    validate(compose(*words.understood(shlex.split(meant))))


@pytest.mark.parametrize(
    "typed",
    ["device=cuda", "model=cnn", "é=3", "framework=é", "tracking=x", "'gpus=${nope}'", "data="],
)
def test_where_nothing_is_near_the_help_is(
    refusal: Callable[[str], DistlabError], typed: str
) -> None:
    assert refusal(typed).fix == HELP


def test_what_is_said_is_in_one_line_without_hydras_own_advice(
    refusal: Callable[[str], DistlabError],
) -> None:
    for typed in ("repeats=two", "data.dri=1", "framework=x", "'epochs=3 ('"):
        found = refusal(typed).found
        assert not any(word in found for word in ("\n", "full_key", "hydra.cc", "reference_type"))
