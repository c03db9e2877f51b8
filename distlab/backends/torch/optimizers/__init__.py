"""The optimizers: torch's own fused ones, and as functions that torch compiles."""
