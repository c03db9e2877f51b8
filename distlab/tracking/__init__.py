"""MLflow: the only writer of runs and studies. Free of Ray and of frameworks."""
