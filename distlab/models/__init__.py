"""Framework-neutral models: specifications, initial weights, equal rewritings."""
