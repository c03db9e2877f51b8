import json
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest

from distlab.fairness import reference
from distlab.models.shipped import MODELS
from distlab.models.weights import draw
from distlab.tracking import predictor

pytestmark = pytest.mark.slow

ELSEWHERE = """
import json, sys
sys.modules["distlab"] = None  # any import of distlab raises
import mlflow.pyfunc, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2])))
modules = [m for n, m in sys.modules.items() if n.startswith("distlab_model_")]
files = [m.__file__ for m in modules if m.__file__]  # a folder is a module without a file
frameworks = sorted({"torch", "tensorflow", "paddle", "ray"} & sys.modules.keys())
print(json.dumps([files, frameworks]))
"""


def softmax(values):
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((7, 1, 28, 28), np.float32)


@pytest.fixture(scope="module", params=["mlp", "lenet5", "resnet20"])
def saved(request, tmp_path_factory):
    spec = MODELS[request.param]
    weights = draw(spec, 1)
    path = tmp_path_factory.mktemp("models") / spec.name
    predictor.save(path, spec, weights)
    return path, spec, weights


def test_a_saved_model_works_where_distlab_is_not_installed(saved, images, tmp_path):
    path, spec, weights = saved
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, path, "images.npy", "predictions.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    files, frameworks = json.loads(done.stdout)
    (package,) = (path / "code").iterdir()
    assert {str(Path(file).relative_to(package)) for file in files} == set(predictor.MODULES)
    assert frameworks == []
    predictions = np.load(tmp_path / "predictions.npy")
    expected = softmax(reference.logits(spec, weights, images))
    np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-7)


def test_every_documented_input_gives_the_same_probabilities(saved, images):
    path, _, _ = saved
    model = mlflow.pyfunc.load_model(str(path))
    expected = model.predict(images)
    assert expected.shape == (7, 10)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-6)
    flat = images.reshape(7, 784)
    served = np.asarray(json.loads(json.dumps(images.tolist())))
    for given in (images[:, 0], flat, pd.DataFrame(flat), images.astype(np.float64), served):
        np.testing.assert_array_equal(model.predict(given), expected)
    assert model.predict(images[:0]).shape == (0, 10)


def test_batches_of_images_are_joined_in_order(images):
    spec = MODELS["mlp"]
    model = predictor.Predictor(spec, draw(spec, 0))
    many = np.tile(images, (2 * predictor.BATCH // 7 + 1, 1, 1, 1))
    assert len(many) % predictor.BATCH
    many = many * np.linspace(0.1, 1, len(many), dtype=np.float32).reshape(-1, 1, 1, 1)
    expected = softmax(reference.logits(spec, draw(spec, 0), many))
    np.testing.assert_allclose(model.predict(many), expected, rtol=1e-4, atol=1e-7)


def test_wrong_input_is_refused_with_the_reason(images):
    model = predictor.Predictor(MODELS["mlp"], draw(MODELS["mlp"], 0))
    with pytest.raises(ValueError, match=r"\[n, 1, 28, 28\] or .*are \[28, 28\]"):
        model.predict(images[0, 0])
    with pytest.raises(ValueError, match="divide the stored values by 255"):
        model.predict((images * 255).astype(np.uint8))
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        model.predict(np.full((1, 784), np.nan))


def test_the_record_of_the_model(saved):
    path, spec, _ = saved
    model = mlflow.pyfunc.load_model(str(path))
    outputs = model.metadata.signature.outputs.inputs[0]
    assert outputs.shape == (-1, spec.classes)
    assert model.predict(model.input_example).shape == (1, 10)
    requirements = (path / "requirements.txt").read_text().split()
    assert requirements == [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}"]
    assert not list(path.rglob("*.pkl"))


def test_loading_a_model_does_not_shadow_distlab(saved):
    path, _, _ = saved
    script = (
        "import mlflow.pyfunc, sys\n"
        "mlflow.pyfunc.load_model(sys.argv[1])\n"
        "import distlab.errors\n"
        "print(distlab.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == Path(predictor.__file__).parents[1]


def test_weights_of_another_model_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"needs a parameter 'conv1\.weight'"):
        predictor.save(tmp_path / "model", MODELS["lenet5"], draw(MODELS["mlp"], 0))
    assert not (tmp_path / "model").exists()
