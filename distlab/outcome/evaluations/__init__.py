"""What a run's epochs and evaluations told."""
