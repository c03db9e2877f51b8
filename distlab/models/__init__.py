"""Framework-neutral models: specifications, initial weights, the NumPy oracle, the predictor."""
