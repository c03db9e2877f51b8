"""Adapters of the frameworks: one module for each, found by name through entry points."""
