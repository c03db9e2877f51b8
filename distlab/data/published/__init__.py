"""Data sets that others have published: what they are, their mirrors, and one that is embedded."""
