"""Environments of distlab's own: a Python, distlab and one framework, for the workers of a run."""
