"""The two models as their files in ``conf/model/`` have them, for machines without PyYAML."""

from distlab.models import grammar
from distlab.models.spec import ModelSpec

LAYERS: dict[str, list] = {
    "mlp": ["flatten", "hidden", {"dense": "classes"}],
    "lenet5": [
        {"conv": {"channels": 6, "kernel": 5, "padding": 2}},
        "relu",
        {"max_pool": 2},
        {"conv": {"channels": 16, "kernel": 5}},
        "relu",
        {"max_pool": 2},
        "flatten",
        {"dense": 120},
        "relu",
        {"dense": 84},
        "relu",
        {"dense": "classes"},
    ],
}
HIDDEN = {"mlp": [100, 100], "lenet5": []}


def spec(name: str) -> ModelSpec:
    """A model by its name."""
    return grammar.build(name, LAYERS[name], (1, 28, 28), 10, HIDDEN[name])
