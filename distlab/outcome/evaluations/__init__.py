"""What a run's evaluations told, in and after its epochs."""
