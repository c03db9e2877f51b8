"""What runs in a rank: the loop over epochs and its probes. Free of Ray and of frameworks."""
