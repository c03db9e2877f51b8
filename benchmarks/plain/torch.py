"""ResNet-20 and the small transformer in PyTorch as its tutorials write them: modules, one loop."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and the shortcut "A" of He et al. (2016): every other pixel, zeros."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride, self.new = stride, channels - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """ReLU of the sum."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.new:
            before = self.new // 2
            x = functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new - before)
            )
        return functional.relu(x + y)


def resnet20(shape: tuple[int, int, int]) -> nn.Module:
    """Three stages of 16, 32 and 64 channels, three blocks each."""
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    inputs = 16
    for channels in (16, 32, 64):
        for _ in range(3):
            layers.append(Block(inputs, channels, 1 if channels in (16, inputs) else 2))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Encoder(nn.Module):
    """A block of the transformer, normalized before each part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(64), nn.LayerNorm(64)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention, then the perceptron, each added to what came in."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Patches of 4 x 4, four blocks, the mean of all tokens."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 64, 4, 4)
        self.places = nn.Parameter(torch.randn(1, shape[1] // 4 * (shape[2] // 4), 64) * 0.02)
        self.blocks = nn.Sequential(*(Encoder() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


def loop(
    model: str, execution: str, images: np.ndarray, labels: np.ndarray
) -> tuple[int, Callable[[np.ndarray], float]]:
    """How many parameters, and what trains a step for each row of indices; the last loss."""
    shape = images.shape[1:]
    network = resnet20(shape) if model == "resnet20" else Transformer(shape)
    network.train()
    run = torch.compile(network) if execution == "graph" else network
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    xs, ys = torch.from_numpy(images), torch.from_numpy(labels)

    def train(indices: np.ndarray) -> float:
        loss = torch.tensor(0.0)
        for batch in torch.from_numpy(indices):
            loss = loss_fn(run(xs[batch]), ys[batch])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    return sum(p.numel() for p in network.parameters()), train
