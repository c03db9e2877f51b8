"""What a machine offers: its ceiling, its load. Free of Ray, MLflow and frameworks."""
