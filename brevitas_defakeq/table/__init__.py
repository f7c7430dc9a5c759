"""Detectors x methods x data sets: the paper's tables, a cell at a time."""
