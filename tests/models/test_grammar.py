"""Models in words, and what is said of one that is none."""

from typing import Any

import pytest
import yaml

from distlab.errors import DistlabError
from distlab.models.grammar import build
from distlab.models.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    LayerNorm,
    MaxPool2D,
    PatchEmbedding,
    PositionEmbedding,
    ReLU,
    Residual,
    SelfAttention,
    Shrink,
)


def layers(text: str, shape: tuple[int, ...] = (1, 28, 28), **more: Any) -> list[Any]:
    """The layers of a model that is written as YAML flow."""
    return list(build("m", yaml.safe_load(text), shape, **more).layers)


def test_sizes_of_the_input_and_names_come_by_themselves() -> None:
    text = "[{conv: {channels: 4, kernel: 3, stride: 2, bias: false}}, batch_norm, relu, "
    text += "{max_pool: 3}, {conv: {channels: 6, kernel: 1, groups: 2}}, {avg_pool: {size: 2, "
    text += "stride: 1, padding: 1}}, flatten, {dense: 5}, {dense: classes}]"
    assert layers(text, (3, 21, 13)) == [
        Conv2D("conv1", 3, 4, 3, stride=2, bias=False),
        BatchNorm("batch_norm1", 4),
        ReLU(),
        MaxPool2D(3),
        Conv2D("conv2", 4, 6, 1, groups=2),
        AvgPool2D(2, 1, 1),
        Flatten(),
        Dense("dense1", 6 * 4 * 3, 5),
        Dense("dense2", 5, 10),
    ]


def test_hidden_stands_for_layers_of_its_sizes() -> None:
    found = layers("[flatten, hidden, {dense: classes}]", hidden=(7, 8), classes=3)
    dense = [layer for layer in found if isinstance(layer, Dense)]
    assert [(one.name, one.outputs) for one in dense] == [
        ("dense1", 7),
        ("dense2", 8),
        ("dense3", 3),
    ]
    assert found.count(ReLU()) == 2


def test_sequences() -> None:
    text = "[{patch_embedding: {patch: 2, width: 6}}, position_embedding, {self_attention: 3}, "
    text += "layer_norm, {dense: 4}, flatten, {dense: 10}]"
    assert layers(text, (2, 4, 6)) == [
        PatchEmbedding("patch_embedding1", 2, 2, 6),
        PositionEmbedding("position_embedding1", 6, 6),
        SelfAttention("self_attention1", 6, 3),
        LayerNorm("layer_norm1", 6),
        Dense("dense1", 6, 4),
        Flatten(),
        Dense("dense2", 24, 10),
    ]


BODY = "{conv: {channels: 2, kernel: 3, stride: %d, padding: 1}}"


@pytest.mark.parametrize(
    ("block", "shortcut"),
    [
        (f"[{BODY % 1}]", (Conv2D("conv2", 1, 2, 1),)),
        (f"[{BODY % 2}]", (Conv2D("conv2", 1, 2, 1, stride=2),)),
        (
            f"[{BODY % 2}, batch_norm]",
            (Conv2D("conv2", 1, 2, 1, stride=2, bias=False), BatchNorm("batch_norm2", 2)),
        ),
        (f"{{layers: [{BODY % 2}], shortcut: pad}}", (Shrink(1, 2, 2),)),
        ("[relu]", ()),
        ("{layers: [relu], shortcut: identity}", ()),
        ("{layers: [relu], shortcut: projection}", (Conv2D("conv1", 1, 1, 1),)),
    ],
)
def test_a_block_has_the_shortcut_that_fits_it(block: str, shortcut: tuple[Any, ...]) -> None:
    found = layers(f"[{{residual: {block}}}, flatten, {{dense: 10}}]", (1, 9, 7))[0]
    assert isinstance(found, Residual)
    assert found.shortcut == shortcut


END = "flatten, {dense: 10}]"
IMAGE = "an image of 1 x 28 x 28 (channels x height x width)"


@pytest.mark.parametrize(
    ("text", "place", "found", "fix"),
    [
        (
            "[{dense: 10}]",
            "layer 1 (dense: 10)",
            IMAGE,
            "- flatten  # a vector of 784\n- dense: 10",
        ),
        (f"[{{conv: 8}}, {END}", "layer 1 (conv: 8)", "needs kernel", "kernel: 3"),
        (f"[{{conv: {{channels: 8, kernel: 29}}}}, {END}", "layer 1", "larger", "kernel: 28 or"),
        (f"[{{conv: {{channels: 8, kernl: 3}}}}, {END}", "layer 1", "has no kernl", "kernel: 3"),
        (f"[{{conv: {{channels: x, kernel: 3}}}}, {END}", "layer 1", "whole number", "- conv:"),
        (f"[{{conv: {{channels: 3, kernel: 3, bias: 1}}}}, {END}", "", "true or false", "- conv:"),
        (f"[{{conv: {{channels: 3, kernel: 3, groups: 2}}}}, {END}", "", "divide", "one of 1"),
        ("[flatten, {conv: {channels: 8, kernel: 3}}]", "layer 2", "a vector of 784", "before the"),
        ("[flatten, {max_pool: 2}]", "layer 2", "a vector of 784", "before the flatten"),
        (f"[{{max_pool: 29}}, {END}", "layer 1 (max_pool: 29)", IMAGE, "size: 28 or less"),
        (f"[{{max_pool: {{size: 2, padding: 2}}}}, {END}", "layer 1", "half", "padding: 1 or less"),
        (f"[{{relu: 3}}, {END}", "layer 1 (relu: 3)", "relu takes no size", "- relu"),
        (f"[rely, {END}", "layer 1 (rely)", "no such layer", "- relu"),
        ("[flatten, {dens: 12}, {dense: 10}]", "layer 2", "no such layer", "- dense: 12"),
        ("[flatten, dense 12, {dense: 10}]", "layer 2", "no such layer", "- dense: 12"),
        (f"[3, {END}", "layer 1 (3)", "neither", "one of dense"),
        (f"[[relu], {END}", "layer 1 ([relu])", "neither", "- relu"),
        (f"[{{relu: , flatten: }}, {END}", "layer 1", "one word", "- relu\n- flatten"),
        (
            f"[{{conv: , channels: 3, kernel: 5}}, {END}",
            "layer 1 ({conv: null, channels: 3, kernel: 5})",
            "one word",
            "- conv: {channels: 3, kernel: 5}",
        ),
        (f"[{{max_pool: 0}}, {END}", "layer 1", "size is 0, and must be at least 1", "- max_pool"),
        (
            f"[{{conv: {{channels: -6, kernel: 3}}}}, {END}",
            "layer 1",
            "channels is -6, and must be at least 1",
            "- conv",
        ),
        (f"[dropout, {END}", "layer 1 (dropout)", "random numbers", "leave dropout out"),
        ("[flatten, {dense: 10}, softmax]", "layer 3", "belongs to the loss", "leave softmax"),
        (f"[layer_norm, {END}", "layer 1", IMAGE, "- batch_norm"),
        (f"[{{self_attention: 2}}, {END}", "layer 1", IMAGE, "- patch_embedding"),
        (f"[{{patch_embedding: {{patch: 3, width: 4}}}}, {END}", "", IMAGE, "1, 2, 4, 7, 14, 28"),
        (
            f"[{{patch_embedding: {{patch: 4, width: 6}}}}, {{self_attention: 4}}, {END}",
            "layer 2",
            "4 heads",
            "heads: one of 1, 2, 3, 6",
        ),
        (f"[{{batch_norm: 2}}, {END}", "layer 1", "momentum must be at most 1", "- batch_norm"),
        (f"[{{residual: []}}, {END}", "layer 1", "a list of layers", "- residual: [{conv:"),
        (f"[{{residual: {{layers: [relu], shortcut: x}}}}, {END}", "", "may be", "projection"),
        (
            f"[{{residual: [{{conv: {{channels: 1, kernel: 4}}}}]}}, {END}",
            "layer 1",
            "1 x 25 x 25",
            "padding: 1",
        ),
        (
            f"[{{residual: [relu, {{dense: 3}}]}}, {END}",
            "layer 1 (residual), its layer 2 (dense: 3)",
            IMAGE,
            "- flatten",
        ),
        ("[relu]", "relu as its last layer", IMAGE, "- global_avg_pool\n- dense: classes"),
        ("[flatten, {dense: 9}]", "dense: 9 as its last", "10 classes", "- dense: classes"),
        ("[flatten, hidden, {dense: 10}]", "layer 2 (hidden)", "sizes in hidden", "hidden: ["),
        ("[flatten]", "", "784 numbers", "- dense: classes"),
        ("flatten", "", "a list of layers", "layers:"),
        ("[]", "", "a list of layers", "layers:"),
    ],
)
def test_a_layer_that_does_not_fit_is_told(text: str, place: str, found: str, fix: str) -> None:
    with pytest.raises(DistlabError) as error:
        layers(text)
    assert error.value.asked.startswith("model m")
    assert place in error.value.asked
    assert found in error.value.found
    assert fix in error.value.fix


def test_a_model_must_have_something_to_train() -> None:
    with pytest.raises(DistlabError, match="no layer has parameters"):
        layers("[flatten]", (1, 2, 5))


def test_sizes_for_hidden_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(DistlabError, match="none of its layers is hidden"):
        layers("[flatten, {dense: 10}]", hidden=(3,))
