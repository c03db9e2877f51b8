"""File formats of images and labels: each read within bounds, and refused in one clear error."""
