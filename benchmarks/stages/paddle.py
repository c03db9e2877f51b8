"""The parts of a Paddle step, added one after the other, on the objects of distlab's backend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle


def product(size: int) -> Callable[[], Any]:
    """What multiplies two matrices of ``size`` rows and columns."""
    matrix = paddle.linspace(-1, 1, size**2).reshape([size, size])
    return lambda: matrix @ matrix


def stages(backend: Any, spec: Any, indices: np.ndarray) -> dict[str, Callable[[], Any]]:
    """By name, what runs a part of the step for each row of ``indices``."""
    images, labels = backend._images, backend._labels

    def gather(batch: Any) -> tuple[Any, Any]:
        return paddle.gather(images, batch), paddle.gather(labels, batch)

    def forward(batch: Any) -> Any:
        return backend._loss(*gather(batch))

    def backward(batch: Any) -> None:
        forward(batch).backward()
        backend._optimizer.paddles.clear_grad(set_to_zero=False)

    def loop(part: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> None:
            for batch in paddle.unbind(paddle.to_tensor(indices)):
                part(batch)

        return run

    return {"gather": loop(gather), "forward": loop(forward), "backward": loop(backward)}
