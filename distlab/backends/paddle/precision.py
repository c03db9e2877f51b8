"""Whether Paddle may round float32 products to TensorFloat-32. Not yet run on a GPU.

cuBLAS and cuDNN obey ``NVIDIA_TF32_OVERRIDE`` before anything else, for the life of a process.
Where it is not set, Paddle's own switches decide, which may change from one program to the next.
"""

import os

from distlab.backends.paddle.importing import paddle
from distlab.errors import DistlabError

OVERRIDE = "NVIDIA_TF32_OVERRIDE"


def set_tf32(allowed: bool) -> None:
    """Turn TF32 on or off for products (cuBLAS) and convolutions (cuDNN) from here on.

    Raises
    ------
    distlab.errors.DistlabError
        If the environment forces the opposite.
    """
    forced = os.environ.get(OVERRIDE)
    if forced in {"0", "1"} and (forced == "1") != allowed:
        raise DistlabError(
            f"framework=paddle precision={'tf32' if allowed else 'fp32 or bf16'}",
            f"{OVERRIDE}={forced} in the environment {'allows' if forced == '1' else 'forbids'} "
            "TF32 whatever Paddle says",
            f"unset {OVERRIDE}, and leave it out of framework.env",
        )
    paddle.base.core.set_cublas_switch(allowed)  # these two have no public name
    paddle.base.core.set_cudnn_switch(allowed)


def tf32_in_effect() -> bool:
    """Whether a product or a convolution may be rounded to TF32 now."""
    forced = os.environ.get(OVERRIDE)
    if forced in {"0", "1"}:
        return forced == "1"
    core = paddle.base.core
    return bool(core.get_cublas_switch() or core.get_cudnn_switch())
