"""Errors and files, for every other package; no torch."""
