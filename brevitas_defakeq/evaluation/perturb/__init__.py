"""Nine perturbations of images at five levels, 1 mild to 5 severe.

The first six are those of DeeperForensics-1.0, which the field's robustness tables use; JPEG quality
replaces its video compression. All work on a decoded image, uint8 RGB [H, W, 3], before preprocessing.
"""
