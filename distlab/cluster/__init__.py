"""Ray, and nothing else of distlab knows it: connecting, placing, ranks as actors."""
