from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from distlab.errors import DistlabError
from distlab.experiment.experiment import engine, resolve
from distlab.experiment.options import Engine
from distlab.experiment.sizes import in_study
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]
ELASTIC = ("framework=torch", "gpus=2..4", "device=cpu", "scaling=strong", "batch_size=64")


def test_a_number_that_may_change_is_one_that_divides_the_batch(compose: Compose) -> None:
    options = validate(compose(*ELASTIC))
    experiment = resolve(options, gpus_present=0)
    assert experiment.sizes == (2, 4) and experiment.world_size == 2
    assert experiment.global_batch == 64
    assert resolve(validate(compose(*ELASTIC[:-1], "batch_size=60")), 0).sizes == (2, 3, 4)
    assert resolve(validate(compose("gpus=2", "device=cpu")), 0).sizes == ()


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (("scaling=weak",), "gpus=2..4 device=cpu scaling=strong"),
        (("engine=actors",), "engine=train"),
        (("repeats=3",), "gpus=2,4"),
        (("gpus=5..7", "batch_size=64"), "batch_size=63"),
    ],
)
def test_where_it_cannot_change_is_said_with_what_can_be_done(
    compose: Compose, words: tuple[str, ...], fix: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose(*ELASTIC, *words))
    assert fix in caught.value.fix
    with pytest.raises(DistlabError, match="in a study"):
        in_study(validate(compose(*ELASTIC)))


@pytest.mark.parametrize(
    ("words", "alone", "in_a_study"),
    [
        (("gpus=2",), Engine.actors, Engine.actors),
        (("cluster=existing",), Engine.train, Engine.actors),
        (ELASTIC, Engine.train, Engine.actors),
        (("checkpoint.dir=s3://bucket/states",), Engine.train, Engine.actors),
        (("checkpoint.dir=/tmp/states",), Engine.actors, Engine.actors),
        (("engine=train",), Engine.train, Engine.train),
        (("engine=actors", "cluster=existing"), Engine.actors, Engine.actors),
    ],
)
def test_ray_train_is_for_a_run_by_itself_that_asks_for_what_it_is_good_at(
    compose: Compose, words: tuple[str, ...], alone: Engine, in_a_study: Engine
) -> None:
    options = validate(compose("framework=torch", *words))
    assert (engine(options, True), engine(options, False)) == (alone, in_a_study)
