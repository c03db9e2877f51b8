"""The error for a layer that a backend has no framework's equivalent of."""

from distlab.errors import DistlabError


def unknown_layer(layer: object, framework: str) -> DistlabError:
    """What a backend raises where its ``model.py`` has no case for a kind of layer.

    Parameters
    ----------
    layer:
        The layer, of a kind in :mod:`distlab.models.layers` or of somebody's own.
    framework:
        The folder of the backend below ``distlab/backends/``.
    """
    kind = type(layer).__name__
    return DistlabError(
        f"a model with a {kind} layer on {framework}",
        f"distlab's backend for {framework} does not know this kind of layer",
        f"add a case for {kind} to distlab/backends/{framework}/model.py",
    )
