"""Perturbations that cover parts of the image: small grey blocks, and one large patch."""

import math

import numpy as np

BLOCK = 8
GREY = 128
#: Per this many pixels of the shorter side the blocks are counted; smaller images get none.
BLOCK_UNIT = 256


def blocks(pixels: np.ndarray, count: float, generator: np.random.Generator) -> np.ndarray:
    """``count`` grey squares of 8 x 8 at random places for each whole 256 pixels of the shorter side."""
    height, width = pixels.shape[:2]
    total = min(height, width) // BLOCK_UNIT * int(count)
    covered = pixels.copy()
    tops, lefts = (
        generator.integers(0, side - BLOCK + 1, total) if total else () for side in (height, width)
    )
    for top, left in zip(tops, lefts, strict=True):
        covered[top : top + BLOCK, left : left + BLOCK] = GREY
    return covered


def occlusion(pixels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """A rectangle of the image's shape and mean colour over ``share`` of its area, at a random place."""
    sides = pixels.shape[:2]
    height, width = (max(1, round(side * math.sqrt(share))) for side in sides)
    top = int(generator.integers(0, sides[0] - height + 1))
    left = int(generator.integers(0, sides[1] - width + 1))
    covered = pixels.copy()
    covered[top : top + height, left : left + width] = np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8)
    return covered
