"""Going on with what another command began."""
