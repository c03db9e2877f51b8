"""What a run ran on, hosts and devices: what they took, and what speaks against it there."""
