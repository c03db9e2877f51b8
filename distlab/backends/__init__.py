"""Adapters of the frameworks: a folder for each, found by name through entry points."""
