import json
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from distlab.models.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distlab.models.shipped import MODELS
from distlab.models.spec import ModelSpec


def test_published_parameter_counts():
    assert MODELS["mlp"].parameter_count == 89_610
    assert MODELS["lenet5"].parameter_count == 61_706


def test_parameters_are_canonical_and_in_layer_order():
    assert list(MODELS["lenet5"].parameters.items()) == [
        ("conv1.weight", (6, 1, 5, 5)),
        ("conv1.bias", (6,)),
        ("conv2.weight", (16, 6, 5, 5)),
        ("conv2.bias", (16,)),
        ("dense1.weight", (400, 120)),
        ("dense1.bias", (120,)),
        ("dense2.weight", (120, 84)),
        ("dense2.bias", (84,)),
        ("dense3.weight", (84, 10)),
        ("dense3.bias", (10,)),
    ]


def test_shapes_of_lenet5():
    assert MODELS["lenet5"].shapes() == (
        *[(6, 28, 28)] * 2,
        (6, 14, 14),
        *[(16, 10, 10)] * 2,
        (16, 5, 5),
        (400,),
        *[(120,)] * 2,
        *[(84,)] * 2,
        (10,),
    )
    assert MODELS["lenet5"].classes == 10


def test_flops_of_mlp_counted_by_hand():
    products = 784 * 100, 100 * 100, 100 * 10
    # the forward pass and the weight gradients of all three layers, input gradients of the last two
    assert MODELS["mlp"].training_flops == 2 * (sum(products) + sum(products) + sum(products[1:]))


def test_flops_of_lenet5_counted_by_hand():
    first = 28 * 28 * 6 * (1 * 5 * 5)
    others = 10 * 10 * 16 * (6 * 5 * 5) + 400 * 120 + 120 * 84 + 84 * 10
    assert MODELS["lenet5"].training_flops == 2 * (2 * first + 3 * others)


@pytest.mark.parametrize("name", MODELS)
def test_json_round_trip(name):
    spec = MODELS[name]
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_round_trip_keeps_what_is_not_default():
    spec = ModelSpec(
        "small",
        (Conv2D("c", 3, 2, kernel=3, padding=1), ReLU(), MaxPool2D(4), Flatten(), Dense("d", 8, 3)),
        input_shape=(3, 8, 8),
    )
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_from_dict_refuses_unknown_layer():
    values = MODELS["mlp"].to_dict()
    values["layers"][1]["type"] = "Dropout"
    with pytest.raises(ValueError, match="unknown layer type 'Dropout'"):
        ModelSpec.from_dict(values)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Dense("d", 784, 10),), r"layer 0 \(Dense 'd'\).*shape \(784,\).*\(1, 28, 28\)"),
        ((Flatten(), Dense("a", 784, 5), Dense("b", 6, 10)), r"layer 2 \(Dense 'b'\)"),
        ((Conv2D("c", 2, 4, 5), Flatten(), Dense("d", 2304, 10)), r"layer 0 \(Conv2D 'c'\)"),
        ((Conv2D("c", 1, 1, 29), Flatten(), Dense("d", 1, 10)), "29x29 kernel is larger"),
        ((Flatten(), Conv2D("c", 1, 4, 5)), r"layer 1 \(Conv2D 'c'\)"),
        (
            (MaxPool2D(29), Flatten(), Dense("d", 1, 10)),
            r"layer 0 \(MaxPool2D\).*29 x 29 is larger",
        ),
        ((Flatten(), MaxPool2D(2), Dense("d", 784, 10)), r"layer 1 \(MaxPool2D\)"),
        ((Flatten(), Dense("d", 784, 9), Dense("d", 9, 10)), r"layer 2 \(Dense 'd'\): its name"),
        ((Flatten(), Dense("d", 784, 0)), r"layer 1 \(Dense 'd'\): outputs must be at least 1"),
        ((Conv2D("c", 1, 4, 5, padding=-1),), "padding must be at least 0"),
        ((Conv2D("c", 1, 4, 5),), "must give a vector"),
        ((Flatten(), ReLU()), "no layer has parameters"),
        ((), "no layer has parameters"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    with pytest.raises(ValueError, match=message):
        ModelSpec("broken", layers)


@pytest.mark.parametrize("sides", [(4, 5), (5, 4)])
def test_what_no_whole_window_reaches_is_dropped(sides):
    spec = ModelSpec("m", (MaxPool2D(2), Flatten(), Dense("d", 4, 2)), (1, *sides))
    assert spec.shapes()[0] == (1, 2, 2)
    assert not MaxPool2D(2).tiles((1, *sides))


@pytest.mark.parametrize("shape", [(28, 28), (0, 28, 28)])
def test_input_shape_is_three_positive_sizes(shape):
    with pytest.raises(ValueError, match="three positive sizes"):
        ModelSpec("m", (Flatten(), Dense("d", 784, 2)), shape)


def test_a_spec_cannot_be_changed_after_its_check():
    with pytest.raises(FrozenInstanceError):
        MODELS["mlp"].layers = ()


def test_models_import_no_framework_tracker_or_launcher():
    script = (
        "import sys, distlab.tracking.predictor\n"
        "print({'torch', 'tensorflow', 'paddle', 'ray', 'mlflow', 'hydra'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
