"""distlab: the same data-parallel experiment on any framework, with a number to believe."""

__version__ = "0.1.0"
