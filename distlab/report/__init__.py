"""What a person reads after runs have ended. Knows nothing of Ray."""
