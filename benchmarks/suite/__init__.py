"""Every method on the same detectors, calibration images and bytes: ``python -m benchmarks``."""
