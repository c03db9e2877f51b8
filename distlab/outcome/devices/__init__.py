"""What a run's hosts and devices were, what they took, and what speaks against it because of them."""
