"""ResNet-20 and the small transformer in Paddle as its guides write them: layers, one loop."""

from collections.abc import Callable

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional


class Block(nn.Layer):
    """Two convolutions and the shortcut "A" of He et al. (2016): every other pixel, zeros."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(inputs, channels, 3, stride, 1, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv2 = nn.Conv2D(channels, channels, 3, 1, 1, bias_attr=False)
        self.norm2 = nn.BatchNorm2D(channels)
        self.stride, self.new = stride, channels - inputs

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """ReLU of the sum."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.new:
            before = self.new // 2
            x = functional.pad(
                x[:, :, :: self.stride, :: self.stride],
                [0, 0, before, self.new - before, 0, 0, 0, 0],
                pad_from_left_axis=True,
            )
        return functional.relu(x + y)


def resnet20(shape: tuple[int, int, int]) -> nn.Layer:
    """Three stages of 16, 32 and 64 channels, three blocks each."""
    layers = [nn.Conv2D(shape[0], 16, 3, 1, 1, bias_attr=False), nn.BatchNorm2D(16), nn.ReLU()]
    inputs = 16
    for channels in (16, 32, 64):
        for _ in range(3):
            layers.append(Block(inputs, channels, 1 if channels in (16, inputs) else 2))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(64, 10))


class Encoder(nn.Layer):
    """A block of the transformer, normalized before each part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(64), nn.LayerNorm(64)
        self.attention = nn.MultiHeadAttention(64, 4)
        self.mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Attention, then the perceptron, each added to what came in."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Layer):
    """Patches of 4 x 4, four blocks, the mean of all tokens."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.patches = nn.Conv2D(shape[0], 64, 4, 4)
        tokens = shape[1] // 4 * (shape[2] // 4)
        self.places = self.create_parameter([1, tokens, 64])
        self.blocks = nn.Sequential(*(Encoder() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The logits."""
        x = self.patches(x).flatten(2).transpose([0, 2, 1]) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


def loop(
    model: str, execution: str, images: np.ndarray, labels: np.ndarray
) -> tuple[int, Callable[[np.ndarray], float]]:
    """How many parameters, and what trains a step for each row of indices; the last loss."""
    shape = images.shape[1:]
    network = resnet20(shape) if model == "resnet20" else Transformer(shape)
    network.train()
    run = paddle.jit.to_static(network) if execution == "graph" else network
    loss_fn = nn.CrossEntropyLoss()
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())

    def train(indices: np.ndarray) -> float:
        loss = paddle.to_tensor(0.0)
        for batch in indices:
            x, y = paddle.to_tensor(images[batch]), paddle.to_tensor(labels[batch])
            loss = loss_fn(run(x), y)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        return float(loss)

    count = sum(int(np.prod(p.shape)) for p in network.parameters() if not p.stop_gradient)
    return count, train
