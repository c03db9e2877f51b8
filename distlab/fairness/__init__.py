"""What a run proves: its checks, the float64 reference, and what float32 cannot tell."""
