import importlib.metadata
from collections.abc import Callable
from pathlib import Path, PurePath

import hydra
import pytest
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distlab.experiment.command_line import words
from distlab.experiment.config_tree import CONF, register
from distlab.experiment.options import Options
from distlab.experiment.validate import validate

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


@pytest.mark.parametrize("data", choices("data"))
def test_every_choice_of_data_composes_and_is_valid(compose: Compose, data: str) -> None:
    needed = {"idx": ["data.dir=/a"], "npz": ["data.file=/a.npz"]}.get(data, [])
    assert validate(compose("framework=torch", f"data={data}", *needed)).data.name == data


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


def test_another_packages_backend_is_a_choice_of_framework(
    compose: Compose, thread_framework: Path
) -> None:
    assert importlib.metadata.version("distlab-threads") == "1.0"
    register()
    options = validate(compose("framework=threads"))
    assert (options.framework.name, options.framework.package) == ("threads", "thread_backend")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["model=mlp"], "torch_mlp"),
        (["framework=tf", "model.name=a/b"], "tf_a_b"),
        # Framework and model are the other run's, which only the store knows.
        (["resume=60306e60aa1e4b0f9d2f1c0a3b5d7e9f"], "resumed_60306e60"),
        (["resume=60306e6"], "resumed_60306e6"),
    ],
)
def test_a_folder_says_which_run_is_in_it(arguments: list[str], name: str) -> None:
    register()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = hydra.compose("config", words.understood(arguments), return_hydra_config=True)
    folder = PurePath(composed.hydra.run.dir)
    assert folder.parts[0] == "outputs" and folder.name.partition("_")[2] == name
