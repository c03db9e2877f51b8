"""What a run's devices were, what they took, and what speaks against it because of them."""
