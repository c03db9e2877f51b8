"""What stands for a model and for data in the hashes by which runs are compared and cells known.

Such a hash must outlive the version that made it: what records knew by name alone keeps its name.
"""

from distlab.data import dataset

# What runs on one and on several workers may differ in and still be one series: where they run and
# are recorded, and how often. (Devices are in the comparison key; execution stands for itself.)
NOT_OF_A_SERIES = (
    "gpus",
    "device",
    "cluster.",
    "tracking.",
    "checkpoint.",
    "failures.",
    "data.",
    "repeats",
    "group_runs",
    "study",
    "resume",
    "take_over",
    "engine",
    "placement",
    "network.",
    "execution",
    "framework.execution",
    # What they lead to is told by the version that workers report.
    "framework.version",
    "framework.environment",
)
LAYERS = ("model.layers", "model.hidden")
"""Options that make up a model; in hashes its digest stands for them."""
KEYED_BY_NAME = ("mnist", "mnist5k")
"""The data sets that records know by name: so it was before data were known by content."""
KNOWN_BY_NAME = {"mlp": "be5019d348a37e81", "lenet5": "9e3df1a4ab5097e7"}
"""The digests of models that records know by name: so it was before models were config."""


def known_by_layers(name: str, digest: str) -> dict[str, str]:
    """What stands for the model in a hash of options: its name, and its layers' digest.

    Hashes of the models that there were when models were known by name are what they were.
    """
    known = KNOWN_BY_NAME.get(name) == digest
    return {"model.name": name} | ({} if known else {"model.layers": digest})


def known_by_content(checksum: str) -> dict[str, str]:
    """What stands for the data in a hash of options: its name if that is what it is, else more.

    Hashes of the canonical data sets are so what they were when data were known by name alone.

    Parameters
    ----------
    checksum:
        That of the images.
    """
    known = dataset.KNOWN.get(checksum)
    if known in KEYED_BY_NAME:
        return {"data.name": known}
    # Whichever option led to them; all that was not known by name was an IDX folder of data=mnist.
    return {"data.name": "mnist", "data": checksum}
