"""The layers that torch has no one-line function or module for, as functions and as modules."""
