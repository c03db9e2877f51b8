"""What a check of the fairness contract finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The outcome of one check and the facts it rests on, in one line."""

    passed: bool
    detail: str
