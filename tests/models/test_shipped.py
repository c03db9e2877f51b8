"""The shipped models against published figures, or a count by hand."""

import json
from pathlib import Path

import pytest

from distlab.errors import DistlabError
from distlab.experiment.keys import KNOWN_BY_NAME
from distlab.models import shipped
from distlab.models.spec import ModelSpec

IMAGENET = (3, 224, 224)


@pytest.mark.parametrize(
    ("name", "input_shape", "classes", "parameters", "multiply_adds"),
    [
        # 0.27 million and, as counted since by others for the same shortcuts, 269,722; the 0.041 G
        # multiply-adds are those of its convolutions and the dense layer.
        ("resnet20", (3, 32, 32), 10, 269_722, 40_551_040),
        # As torchvision 0.21 documents its resnet18 (11,689,512, 1.81 G) and alexnet (61,100,840,
        # 0.71 G).
        ("resnet18", IMAGENET, 1000, 11_689_512, 1_814_073_344),
        ("alexnet", IMAGENET, 1000, 61_100_840, 714_188_480),
    ],
)
def test_published_counts(
    name: str, input_shape: tuple[int, ...], classes: int, parameters: int, multiply_adds: int
) -> None:
    spec = shipped.model(name, input_shape, classes)
    assert spec.parameter_count == parameters
    assert spec.multiply_adds == multiply_adds


def test_the_transformer_counted_by_hand() -> None:
    tokens, width, inner, blocks = 49, 64, 256, 4
    embedded = 16 * width + width, tokens * width
    norm = 2 * width
    attention = (width * 3 * width + 3 * width) + (width * width + width)
    dense = (width * inner + inner) + (inner * width + width)
    spec = shipped.model("vit")
    block = 2 * norm + attention + dense
    assert spec.parameter_count == sum(embedded) + blocks * block + norm + (width * 10 + 10)
    products = tokens * 16 * width
    products += blocks * tokens * (width * 3 * width + width * width + 2 * width * inner)
    mixed = blocks * 2 * tokens * tokens * width  # each token with each, for scores and for means
    assert spec.multiply_adds == products + mixed + width * 10
    first = tokens * 16 * width
    assert spec.training_flops == 2 * (3 * spec.multiply_adds - first)


def test_a_projection_beside_the_first_layer_needs_no_gradient_of_its_input_either() -> None:
    body = [{"conv": {"channels": 2, "kernel": 3, "padding": 1}}]
    spec = shipped.build("m", [{"residual": body}, "flatten", {"dense": 10}], (1, 4, 4))
    first, shortcut, last = 16 * 2 * 9, 16 * 2 * 1, 32 * 10
    assert spec.training_flops == 2 * (2 * first + 2 * shortcut + 3 * last)


@pytest.mark.parametrize("name", KNOWN_BY_NAME)
def test_models_that_records_know_by_name_have_not_changed(name: str) -> None:
    assert shipped.model(name).digest == KNOWN_BY_NAME[name]


@pytest.mark.parametrize("name", shipped.NAMES)
def test_json_round_trip(name: str) -> None:
    spec = shipped.model(name, (3, 64, 64), 7)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.classes == 7


def test_models_that_need_larger_images_say_so() -> None:
    assert set(shipped.NAMES) - set(shipped.MODELS) == {"alexnet"}
    with pytest.raises(DistlabError, match=r"192 x 2 x 2.*\nfix: .*larger images"):
        shipped.model("alexnet")
    assert shipped.model("alexnet", (3, 63, 63)).classes == 10


@pytest.mark.parametrize(
    ("text", "found", "fix"),
    [
        ("layers: [flatten", "no YAML", "layers:"),
        ("- flatten", "no layers", "layers:"),
        ("layer: [flatten]", "no layers", "layers:"),
        ("layers: [flatten]\ntarget_acuracy: 1", "holds target", "target_accuracy: ..."),
        (b"\xff\xfe\x00", "no YAML", "layers:"),
    ],
)
def test_a_file_that_is_none_of_a_model_is_refused(
    text: str | bytes, found: str, fix: str, tmp_path: Path
) -> None:
    file = tmp_path / "net.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DistlabError) as error:
        shipped.read(file, "model=./net.yaml")
    assert error.value.asked == "model=./net.yaml"
    assert found in error.value.found
    assert fix in error.value.fix


def test_a_file_has_defaults(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("layers: [flatten, {dense: classes}]")
    found = shipped.read(tmp_path / "net.yaml", "model=net.yaml")
    assert (found["name"], found["target_accuracy"]) == ("net", 1.0)
    with pytest.raises(DistlabError, match="No such file"):
        shipped.read(tmp_path / "none.yaml", "model=none.yaml")
