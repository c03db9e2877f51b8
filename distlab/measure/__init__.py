"""Measuring: clocks, statistics and the machine's limits. Free of Ray, MLflow and frameworks."""
