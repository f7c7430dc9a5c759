"""What happens to pictures on their way: nine perturbations at five levels, 1 mild to 5 severe.

The first six are those of DeeperForensics-1.0, which the field's robustness tables use; JPEG quality stands
in for its video compression. All work on a decoded picture, uint8 RGB [H, W, 3], before preprocessing.
"""
