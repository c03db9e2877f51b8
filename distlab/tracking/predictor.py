"""A trained model as an MLflow model that needs neither distlab nor the framework it came from.

The saved folder holds the weights (``weights.npz``), the spec (``spec.json``) and a copy of those
of distlab's modules that it needs, in a package with a name of its own:
``mlflow.pyfunc.load_model(path).predict(images)`` works wherever MLflow and NumPy are installed.
Nothing is pickled.

This module imports its neighbours relatively, because it travels with them, and MLflow only inside
:func:`save`.
"""

import hashlib
import json
import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..fairness.reference import log_softmax, logits
from ..models.spec import ModelSpec
from ..models.weights import Weights, check

_ROOT = Path(__file__).parents[1]
MODULES = (
    *sorted(
        str(file.relative_to(_ROOT))
        for folder in ("models/layers", "fairness/layers")
        for file in (_ROOT / folder).glob("*.py")
    ),
    "models/spec.py",
    "models/weights.py",
    "fairness/reference.py",
    "tracking/predictor.py",
)
"""The files of distlab that a saved model takes along, in folders of the same names."""

BATCH = 250
"""Images computed at a time, which bounds the memory."""


class Predictor:
    """What MLflow calls: images in, class probabilities out.

    Parameters
    ----------
    spec, weights:
        The model and its trained parameters, in the canonical layout.
    """

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self.spec = spec
        self.parameters = weights

    def predict(self, model_input: ArrayLike) -> NDArray[np.float32]:
        """Give the probability of each class for each image, computed in float32.

        Parameters
        ----------
        model_input:
            n images, their pixels in [0, 1] (stored value / 255): an array ``[n, channels,
            height, width]``, ``[n, height, width]`` (one channel) or ``[n, channels * height *
            width]``, nested lists of such a shape, or a pandas DataFrame with one row per image
            and one column per pixel.

        Returns
        -------
        numpy.ndarray
            ``[n, classes]`` float32, each row summing to 1.

        Raises
        ------
        ValueError
            If the input has another shape, or values outside of [0, 1].
        """
        # In one layout of memory, on which the order of a product's sums may depend.
        images = self._images(np.ascontiguousarray(model_input, np.float32))
        starts = range(0, max(len(images), 1), BATCH)
        parts = [images[start : start + BATCH] for start in starts]
        outputs = np.concatenate([logits(self.spec, self.parameters, p, np.float32) for p in parts])
        probabilities: NDArray[np.float32] = np.exp(log_softmax(outputs))
        return probabilities

    def _images(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring any of the accepted shapes to ``[n, channels, height, width]``."""
        shape = self.spec.input_shape
        accepted = [shape, (math.prod(shape),)] + ([shape[1:]] if shape[0] == 1 else [])
        if values.shape[1:] not in accepted:
            shapes = " or ".join(f"[n, {', '.join(map(str, sample))}]" for sample in accepted)
            raise ValueError(f"images must be {shapes}, are {list(values.shape)}")
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                "pixels must be in [0, 1]: divide the stored values by 255 "
                f"(found {values.min():g} to {values.max():g})"
            )
        return values.reshape(len(values), *shape)


def _load_pyfunc(path: str) -> Predictor:
    """Read a saved model's data folder; MLflow calls this by its name."""
    folder = Path(path)
    spec = ModelSpec.from_dict(json.loads((folder / "spec.json").read_text("utf-8")))
    with np.load(folder / "weights.npz") as arrays:
        return Predictor(spec, dict(arrays))


def save(path: Path, spec: ModelSpec, weights: Weights) -> None:
    """Write a trained model as an MLflow model folder (pyfunc flavor).

    The code goes into a package whose name holds a hash of its text: loading the model neither
    shadows an installed distlab nor mixes with the code of a model that another version saved.

    MLflow's signature holds the outputs only: one for the inputs would admit one rank of array,
    and refuse all but one of the shapes that :meth:`Predictor.predict` takes and checks itself.

    Parameters
    ----------
    path:
        The folder to create; it must not exist, or be empty.
    spec, weights:
        The model and its trained parameters, in the canonical layout.

    Raises
    ------
    ValueError
        If the arrays are not the parameters of this spec.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    check(spec, weights)
    text = b"".join((_ROOT / module).read_bytes() for module in MODULES)
    package = f"distlab_model_{hashlib.sha256(text).hexdigest()[:12]}"
    probabilities = TensorSpec(np.dtype(np.float32), (-1, spec.classes))
    example = np.zeros((1, *spec.input_shape), np.float32)
    with TemporaryDirectory() as temporary:
        data, code = Path(temporary, "model"), Path(temporary, package)
        data.mkdir()
        (data / "spec.json").write_text(json.dumps(spec.to_dict(), indent=2) + "\n", "utf-8")
        arrays: dict[str, Any] = dict(weights)
        np.savez(data / "weights.npz", **arrays)
        for module in MODULES:
            (code / module).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / module, code / module)
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module=f"{package}.tracking.predictor",
            data_path=str(data),
            code_paths=[str(code)],
            signature=ModelSignature(outputs=Schema([probabilities])),
            input_example=example,
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}"],
        )
