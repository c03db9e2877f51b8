"""The reference's layers: each computed forward and backward in NumPy, in any floating type."""
