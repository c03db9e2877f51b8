from collections.abc import Callable
from dataclasses import replace

import pytest
from omegaconf import DictConfig

from distlab.data import asked
from distlab.data.dataset import Form
from distlab.errors import DistlabError
from distlab.experiment.experiment import resolve
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("data", "shape", "classes"),
    [
        (["data=emnist", "data.split=letters"], (1, 28, 28), 26),
        (["data=cifar10"], (3, 32, 32), 10),
        (["data=synthetic", "data.shape=[2,40,30]", "data.classes=7"], (2, 40, 30), 7),
    ],
)
@pytest.mark.parametrize("model", ["mlp", "lenet5", "resnet20"])
def test_models_take_shape_and_classes_from_the_data(
    compose: Compose, model: str, data: list[str], shape: tuple[int, ...], classes: int
) -> None:
    options = validate(compose("framework=torch", "device=cpu", f"model={model}", *data))
    found = resolve(options, 0)
    assert (found.spec.input_shape, found.spec.classes) == (shape, classes)
    assert options.model.name == model


def test_a_model_that_does_not_fit_the_data_is_refused_before_they_are_loaded(
    compose: Compose,
) -> None:
    with pytest.raises(DistlabError, match="47 classes"):
        validate(compose("data=emnist", "model.layers=[flatten,{dense:10}]"))
    with pytest.raises(DistlabError, match="layer 3"):
        validate(compose("data=synthetic", "data.shape=[3,10,10]", "model=alexnet"))
    validate(compose("data=synthetic", "data.shape=[3,64,64]", "model=alexnet"))


def test_files_tell_their_form_when_they_are_read(compose: Compose) -> None:
    options = validate(compose("data=npz", "data.file=/a.npz", "model=alexnet", "device=cpu"))
    assert asked.form(options.data) is None
    known = replace(options, data=asked.told(options.data, Form((3, 64, 64), 5)))
    assert resolve(known, 0).spec.input_shape == (3, 64, 64)
    assert asked.told(known.data, Form((1, 2, 3), 4)) == known.data


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=mlp"], "mlp"),
        (["model=mlp", "model.hidden=[100,100]"], "mlp"),
        (["model=mlp", "model.hidden=[512,64]"], "mlp-512-64"),
        (["model=lenet5", "model.layers=[flatten,{dense:classes}]"], "lenet5-"),
        (["model=lenet5", "model.layers=[flatten,{dense:classes}]", "model.name=flat"], "flat"),
    ],
)
def test_what_is_no_lenet5_is_not_recorded_as_one(
    compose: Compose, overrides: list[str], name: str
) -> None:
    found = validate(compose(*overrides)).model.name
    assert found.startswith(name) if name.endswith("-") else found == name
