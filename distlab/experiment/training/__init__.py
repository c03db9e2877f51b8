"""How a model is trained: the optimizer and its learning rates."""
