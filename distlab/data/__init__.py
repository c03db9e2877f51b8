"""The samples of an experiment and the order in which they are consumed; no framework needed."""
