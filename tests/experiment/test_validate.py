from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from distlab.errors import DistlabError
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("address", ["null", "auto", "head:6379", "ray://head:10001"])
def test_a_job_is_handed_over_to_an_http_address(compose: Compose, address: str) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("cluster=job", f"cluster.address='{address}'"))
    assert caught.value.fix == "cluster.address=http://HEAD:8265"


def test_a_jobs_framework_need_not_be_installed_here(compose: Compose) -> None:
    address = "cluster.address=http://head:8265"
    assert validate(compose("cluster=job", address, "framework.package=nowhere")).cluster


@pytest.mark.parametrize(
    "override",
    [
        "epochs=0",
        "epochs=-1",
        "batch_size=0",
        "threads_per_worker=0",
        "gpus=0",
        "gpus=-2",
        "gpus=two",
        "gpus=1.5",
        "gpus=4..2",
        "gpus=0..2",
        "gpus=2..2",
        "learning_rate=0",
        "learning_rate=-0.1",
        "learning_rate=inf",
        "learning_rate=nan",
        "target_accuracy=1.01",
        "target_accuracy=-0.01",
        "target_accuracy=nan",
        "seed=-1",
        f"seed={2**63}",
        "model.name=res/net",
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name(compose: Compose, override: str) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("framework=torch", override))
    error = caught.value
    assert override.split("=")[0] in error.asked
    assert override.split("=")[0].split(".")[0] in error.fix
    assert error.found and len(str(error).splitlines()) <= 6


@pytest.mark.parametrize(
    "override",
    [
        "epochs=1",
        "batch_size=1",
        "gpus=1",
        "gpus=null",
        "learning_rate=1e-9",
        "target_accuracy=0",
        "target_accuracy=1",
        "seed=0",
        f"seed={2**63 - 1}",
        "execution=graph",
    ],
)
def test_values_at_the_limits_are_valid(compose: Compose, override: str) -> None:
    validate(compose("framework=torch", override))
