"""Which options of training are as they always were before there was a choice.

In hashes and comparisons they are left out, so that what was recorded without them stays what it
is.
"""

from collections.abc import Mapping
from typing import Any

SECTIONS = ("optimizer.", "rate.", "stop.", "evaluate.")
EXCEPT = "optimizer.variant"
"""This one was always told."""
STANDARD = {
    "optimizer.name": "adam",
    "optimizer.beta1": "0.9",
    "optimizer.beta2": "0.999",
    "optimizer.epsilon": "1e-08",
    "rate.schedule": "constant",
    "rate.by_workers": "none",
    "rate.warmup_steps": "0",
    "rate.drop_epochs": "[]",
    "rate.drop_factor": "0.1",
    "stop.at_target": "False",
}
"""The values as text; an option that is not here is null by itself."""


def is_standard(name: str, value: Any) -> bool:
    """Whether an option (``rate.schedule``) is one of these and has its usual value."""
    here = name.startswith(SECTIONS) and name != EXCEPT
    return here and str(value) == STANDARD.get(name, "None")


def beyond(options: Mapping[str, Any]) -> dict[str, str]:
    """Those options of training, as text, that are not as they always were.

    Parameters
    ----------
    options:
        By name, flat; or the parameters of a run in MLflow.
    """
    return {
        name: str(value)
        for name, value in options.items()
        if name.startswith(SECTIONS)
        and name != EXCEPT
        and not is_standard(name, value)
        # An optimizer has no number of another one, which tells nothing.
        and str(value) != "None"
    }
