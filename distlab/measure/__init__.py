"""Measuring: clocks and statistics. Free of Ray, MLflow and frameworks."""
