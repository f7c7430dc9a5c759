"""The pace of this machine now: what speed limits in tests are multiples of."""

import time

import numpy as np


def pace() -> float:
    """Processor seconds of a fixed piece of Python and NumPy work, the best of three; about 0.02."""
    return min(_once() for _ in range(3))


def _once() -> float:
    numbers = np.random.default_rng(0).random(200_000)
    started = time.process_time()
    for _ in range(3):
        np.sort(numbers)
    total = 0
    for value in range(300_000):
        total += value * value
    return time.process_time() - started
