import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distlab.data import asked
from distlab.data.dataset import Form
from distlab.errors import DistlabError
from distlab.experiment.experiment import Experiment, resolve, validate
from distlab.experiment.options import CONF, Device, Options, Scaling, flat, register

Compose = Callable[..., DictConfig]


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("model", sorted(set(choices("model")) - {"alexnet"}))  # larger images
@pytest.mark.parametrize("cluster", choices("cluster"))
def test_every_choice_of_a_group_composes_and_is_valid(
    compose: Compose, model: str, cluster: str
) -> None:
    named = ["cluster.address=http://head:8265"] if cluster == "job" else []
    composed = compose("framework=torch", f"model={model}", f"cluster={cluster}", *named)
    options = validate(composed)
    assert options.model.name == model
    assert options.target_accuracy == options.model.target_accuracy
    assert options.cluster.mode == cluster


@pytest.mark.parametrize("address", ["null", "auto", "head:6379", "ray://head:10001"])
def test_a_job_is_handed_over_to_an_http_address(compose: Compose, address: str) -> None:
    with pytest.raises(DistlabError) as caught:
        validate(compose("cluster=job", f"cluster.address='{address}'"))
    assert caught.value.fix == "cluster.address=http://HEAD:8265"


def test_a_jobs_framework_need_not_be_installed_here(compose: Compose) -> None:
    address = "cluster.address=http://head:8265"
    assert validate(compose("cluster=job", address, "framework.package=nowhere")).cluster


@pytest.mark.parametrize("data", choices("data"))
def test_every_choice_of_data_composes_and_is_valid(compose: Compose, data: str) -> None:
    needed = {"idx": ["data.dir=/a"], "npz": ["data.file=/a.npz"]}.get(data, [])
    assert validate(compose("framework=torch", f"data={data}", *needed)).data.name == data


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


@pytest.mark.parametrize("framework", choices("framework"))
def test_every_framework_composes(compose: Compose, framework: str) -> None:
    composed = compose(f"framework={framework}")
    assert composed.framework.name == framework
    assert composed.framework.execution in ("eager", "graph")


def test_command_line_beats_experiment(compose: Compose) -> None:
    assert compose("experiment=quickstart", "epochs=1").epochs == 1
    assert compose("experiment=quickstart", "data=mnist").data.name == "mnist"


def test_the_quickstart_compiles_no_torch_and_leaves_the_others_as_they_are(
    compose: Compose,
) -> None:
    found = {
        name: validate(compose("experiment=quickstart", f"framework={name}")).execution
        for name in ("torch", "tf", "paddle")
    }
    assert found == {"torch": "eager", "tf": None, "paddle": None}
    assert validate(compose("experiment=quickstart", "execution=graph")).execution == "graph"


def test_target_accuracy_follows_the_model_unless_given(compose: Compose) -> None:
    assert compose("model=mlp").target_accuracy == compose("model=mlp").model.target_accuracy
    assert compose("model=mlp", "target_accuracy=0.5").target_accuracy == 0.5


def test_every_option_of_the_schema_stands_explained_in_the_config_tree() -> None:
    """A user finds each option in a file of conf/, below a comment."""
    text = "\n".join(path.read_text() for path in CONF.rglob("*.yaml"))
    for name in Options.__dataclass_fields__:
        assert f"\n{name}:" in text or f"- {name}:" in text, name


@pytest.mark.parametrize(
    "override",
    [
        "epochs=ten",
        "epochs=1.5",
        "epochs=true",
        "epochs=null",
        "batch_size=big",
        "batch_size=null",
        "seed=1.5",
        "seed=null",
        "learning_rate=fast",
        "learning_rate=true",
        "threads_per_worker=many",
        "target_accuracy=high",
        "device=cuda",
        "execution=fast",
        "precision=fp8",
        "precision=null",
        "+framework.execution_by_model.mlp=fast",
        "scaling=none",
        "optimizer.variant=adamw",
        "tracking.log_model=perhaps",
        "cluster.mode=cloud",
        "cluster.start_timeout_s=soon",
        "framework.env=[1]",
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_name(
    compose: Compose, override: str
) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        compose("framework=torch", override)
    assert override.split("=")[0] in str(caught.value)
    assert len(str(caught.value).splitlines()) < 24


@pytest.mark.parametrize(
    "override", ["epoch=1", "optimizer.beta=1", "tracking.url=x", "data.folder=x", "lr=0.1"]
)
def test_an_unknown_option_is_refused_with_its_name(compose: Compose, override: str) -> None:
    with pytest.raises(HydraException, match=override.split("=")[0]):
        compose(override)


@pytest.mark.parametrize(
    "group", ["framework", "model", "data", "cluster", "experiment", "tracking"]
)
def test_an_unknown_choice_is_refused(compose: Compose, group: str) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException), match="nothing"):
        compose(f"{group}=nothing")


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


def test_a_version_is_no_other_series_and_an_unnamed_one_no_other_cell(compose: Compose) -> None:
    here = importlib.metadata.version("torch").partition("+")[0]
    one, other = (
        resolve(validate(compose(f"framework.version={version}")), 0) for version in (here, "null")
    )
    assert one.series("0") == other.series("0")
    assert one.comparison_key("0", "cpu") == other.comparison_key("0", "cpu")


def test_another_packages_backend_is_a_choice_of_framework(
    compose: Compose, thread_framework: Path
) -> None:
    assert importlib.metadata.version("distlab-threads") == "1.0"
    register()
    options = validate(compose("framework=threads"))
    assert (options.framework.name, options.framework.package) == ("threads", "thread_backend")


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


def key(one: Experiment, checksum: str = "c" * 64, device_name: str = "abacus") -> str:
    return one.comparison_key(checksum, device_name)


@pytest.mark.parametrize(
    "overrides",
    [
        ["gpus=4"],
        ["execution=graph"],
        ["framework.name=tf", "framework.package=sys"],
        ["tracking.experiment=other"],
        ["cluster=existing"],
        ["target_accuracy=0.1"],
    ],
)
def test_comparison_key_is_equal_across_what_a_comparison_varies(
    experiment: Callable[..., Experiment], overrides: list[str]
) -> None:
    assert key(experiment(*overrides)) == key(experiment())


@pytest.mark.parametrize(
    "overrides", [["gpus=4"], ["device=cpu"], ["repeats=9"], ["execution=graph"]]
)
def test_a_series_is_one_over_numbers_of_workers(
    experiment: Callable[..., Experiment], overrides: list[str]
) -> None:
    told = [*overrides, f"execution={experiment(*overrides).execution}"]
    assert experiment(*overrides).series("0" * 64) == experiment(*told).series("0" * 64)
    same = experiment(f"execution={experiment(*overrides).execution}")
    assert experiment(*overrides).series("0" * 64) == same.series("0" * 64)


def test_a_series_is_of_the_content_of_data_wherever_they_lie(
    experiment: Callable[..., Experiment],
) -> None:
    folder = experiment("data=mnist", "data.dir=/x").series("0" * 64)
    assert folder == experiment("data=mnist", "data.dir=/y").series("0" * 64)
    assert folder == experiment("data=fashion_mnist", "data.samples=100").series("0" * 64)
    assert folder != experiment("data=mnist", "data.dir=/x").series("1" * 64)


@pytest.mark.parametrize(
    "change",
    [
        *("target_accuracy=0.1", "measure_exchange=false", "+framework.env.A=1"),
        *("batch_size=32", "pin=cores"),
    ],
)
def test_what_differs_in_anything_else_is_another_series(
    experiment: Callable[..., Experiment], change: str
) -> None:
    assert experiment(change).series("0" * 64) != experiment().series("0" * 64)


def test_comparison_key_differs_on_all_that_must_be_equal(
    experiment: Callable[..., Experiment],
) -> None:
    base = experiment()
    keys = {
        "base": key(base),
        "data": key(base, checksum="d" * 64),
        "device name": key(base, device_name="loom"),
        "device": key(replace(base, device="gpu")),
    }
    for override in (
        "model=lenet5",
        "epochs=11",
        "batch_size=65",
        "scaling=strong",
        "learning_rate=0.002",
        "optimizer.variant=stock",
        "precision=bf16",
        "seed=1",
        "threads_per_worker=2",
        "pin=cores",
    ):
        keys[override] = key(experiment(override))
    for one, other in combinations(keys, 2):
        assert keys[one] != keys[other], f"{one} and {other}"
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in keys.values())


def test_comparison_key_stays_the_same_across_processes_and_versions(
    experiment: Callable[..., Experiment],
) -> None:
    """A stored key is compared with those of later runs: a change here breaks all records."""
    assert key(experiment()) == key(experiment())
    # As it was before there was a choice of precision.
    assert key(experiment(), "c" * 64, "abacus") == "1c0d5b44549c8163"
    assert key(experiment("epochs=10")) == key(experiment("batch_size=64"))


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


def test_models_of_the_same_name_and_other_layers_are_never_compared(
    experiment: Callable[..., Experiment],
) -> None:
    layers = ("[flatten,{dense:classes}]", "[flatten,{dense:5},{dense:classes}]")
    one, other = (experiment("model.name=net", f"model.layers={text}") for text in layers)
    assert key(one) != key(other)
    assert one.series("d") != other.series("d")
    again = experiment("model.name=net", "model.layers=[flatten,{dense:{outputs:10}}]")
    assert key(one) == key(again)  # however they are written


def test_records_from_before_models_were_config_name_the_same_model(
    experiment: Callable[..., Experiment],
) -> None:
    now = experiment("model=lenet5")
    model = replace(now.options.model, layers=None)
    before = replace(now, options=replace(now.options, model=model))
    assert before.spec == now.spec
    assert key(before) == key(now)
    assert before.series("d") == now.series("d")


def test_batch_normalization_needs_two_samples(experiment: Callable[..., Experiment]) -> None:
    with pytest.raises(DistlabError, match="batch_size=2"):
        experiment("model=resnet20", "batch_size=1")
    experiment("model=vit", "batch_size=1")
