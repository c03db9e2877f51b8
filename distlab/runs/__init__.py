"""The driver: one run, a study of many, what is shown meanwhile."""
