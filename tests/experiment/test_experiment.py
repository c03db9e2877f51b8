from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment, resolve
from distlab.experiment.validate import validate

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(
    ("scaling", "workers", "global_batch", "local_batch"),
    [("weak", 1, 60, 60), ("weak", 3, 180, 60), ("strong", 1, 60, 60), ("strong", 3, 60, 20)],
)
def test_batch_is_per_worker_when_weak_and_global_when_strong(
    experiment: Callable[..., Experiment],
    scaling: str,
    workers: int,
    global_batch: int,
    local_batch: int,
) -> None:
    one = experiment(f"scaling={scaling}", f"gpus={workers}", "batch_size=60")
    assert (one.global_batch, one.program.local_batch) == (global_batch, local_batch)


@pytest.mark.parametrize(("batch", "workers"), [(64, 3), (2, 3), (65, 2)])
def test_a_batch_that_workers_cannot_share_equally_is_refused(
    experiment: Callable[..., Experiment], batch: int, workers: int
) -> None:
    with pytest.raises(DistlabError) as caught:
        experiment("scaling=strong", f"gpus={workers}", f"batch_size={batch}")
    assert str(batch) in caught.value.asked and str(workers) in caught.value.asked


@pytest.mark.parametrize("present", [0, 1, 2, 3])
@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_too_few_gpus_is_an_error_and_never_a_fallback(
    compose: Compose, present: int, device: str
) -> None:
    options = validate(compose("framework=torch", "gpus=4", f"device={device}"))
    with pytest.raises(DistlabError) as caught:
        resolve(options, present)
    error = caught.value
    assert "4" in error.asked and "gpus=4" in error.asked
    assert error.found == f"Ray has {present} GPU{'' if present == 1 else 's'}"
    assert "gpus=4 device=cpu" in error.fix


def test_device_gpu_without_any_is_an_error(compose: Compose) -> None:
    options = validate(compose("framework=torch", "device=gpu"))
    with pytest.raises(DistlabError, match="Ray has 0 GPUs"):
        resolve(options, 0)


@pytest.mark.parametrize(
    ("overrides", "present", "device", "workers"),
    [
        ([], 0, "cpu", 1),
        ([], 1, "gpu", 1),
        ([], 8, "gpu", 8),
        (["gpus=2"], 8, "gpu", 2),
        (["device=gpu"], 8, "gpu", 8),
        (["device=cpu"], 8, "cpu", 1),
        (["device=cpu", "gpus=4"], 0, "cpu", 4),
        (["device=cpu", "gpus=4"], 8, "cpu", 4),
    ],
)
def test_device_and_workers_follow_what_is_asked_and_what_is_there(
    compose: Compose, overrides: list[str], present: int, device: str, workers: int
) -> None:
    found = resolve(validate(compose("framework=torch", *overrides)), present)
    assert (found.device, found.world_size) == (device, workers)


def test_execution_is_the_frameworks_default_unless_given(compose: Compose) -> None:
    def execution(*overrides: str) -> str:
        return resolve(validate(compose("framework=torch", *overrides)), 0).execution

    default = compose("framework=torch").framework.execution
    assert execution() == default
    assert execution("execution=eager") == "eager"
    assert execution("execution=graph") == "graph"


def test_execution_is_the_models_default_unless_given(compose: Compose) -> None:
    by_model = "+framework.execution_by_model.mlp=graph"

    def execution(*overrides: str) -> str:
        options = validate(compose("framework=torch", "framework.execution=eager", *overrides))
        return resolve(options, 0).execution

    assert execution(by_model, "model=mlp") == "graph"
    assert execution(by_model, "model=lenet5") == "eager"
    assert execution(by_model, "model=mlp", "execution=eager") == "eager"
    assert execution("framework.execution=graph", "model=mlp") == "graph"


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_precision_is_the_programs_where_there_are_gpus(
    compose: Compose, precision: str
) -> None:
    options = validate(compose("framework=torch", f"precision={precision}"))
    assert resolve(options, 1).program.precision == precision


def test_tf32_is_refused_on_cpu_workers_and_bf16_is_not(compose: Compose) -> None:
    def resolved(precision: str, gpus: int, *overrides: str) -> Experiment:
        options = validate(compose("framework=torch", f"precision={precision}", *overrides))
        return resolve(options, gpus)

    for gpus, overrides in ((0, []), (8, ["device=cpu"])):
        with pytest.raises(DistlabError) as caught:
            resolved("tf32", gpus, *overrides)
        assert caught.value.asked == "precision=tf32 on CPU workers"
        assert caught.value.fix == "precision=bf16 or precision=fp32"
        assert resolved("bf16", gpus, *overrides).program.precision == "bf16"


def test_batch_normalization_needs_two_samples(experiment: Callable[..., Experiment]) -> None:
    with pytest.raises(DistlabError, match="batch_size=2"):
        experiment("model=resnet20", "batch_size=1")
    experiment("model=vit", "batch_size=1")
