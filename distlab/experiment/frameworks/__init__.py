"""The framework that options name: whether it can be used here, and who named it."""
