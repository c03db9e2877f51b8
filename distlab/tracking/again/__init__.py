"""Taking up what another command began."""
