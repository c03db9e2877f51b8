"""PyTorch: DistributedDataParallel, or steps that are compiled ahead of time."""
