"""What of a run is not computing: compiling before it, exchanging gradients in it."""
