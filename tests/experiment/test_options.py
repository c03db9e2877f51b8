from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from distlab.experiment.options import Device, Options, Scaling, flat
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


def test_flat_names_every_option_once_with_plain_values(compose: Compose) -> None:
    options = validate(compose("framework=torch", "device=cpu"))
    found: dict[str, Any] = flat(options)
    assert found["device"] == "cpu" and type(found["device"]) is str
    assert found["optimizer.variant"] == "reference"
    assert found["model.name"] == "lenet5"
    assert found["gpus"] is None
    assert not any(isinstance(value, dict) and value for value in found.values())
    leaves = {name.split(".")[0] for name in found}
    assert leaves == set(Options.__dataclass_fields__)


def test_enums_are_what_users_write() -> None:
    assert [str(value) for value in Device] == ["auto", "cpu", "gpu"]
    assert [str(value) for value in Scaling] == ["weak", "strong"]
