"""What computes, and what it takes: GPUs as NVML tells of them, energy by their meters."""
