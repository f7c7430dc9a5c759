"""Maps drawn over images."""

import numpy as np
import torch

from brevitas_defakeq.saliency import overlay

WHITE = np.full((8, 6, 3), 255, dtype=np.uint8)


def test_the_strongest_value_has_the_most_colour():
    saliency = torch.zeros(4, 3)
    saliency[1, 2] = 2.0
    drawn = overlay(WHITE, saliency)
    assert drawn.shape == (8, 6, 3) and drawn.dtype == np.uint8
    colour = (WHITE.astype(int) - drawn).sum(axis=2)
    assert np.unravel_index(colour.argmax(), colour.shape) in {(2, 5), (3, 5), (2, 4), (3, 4)}
    assert np.array_equal(drawn[:, 0], WHITE[:, 0])
    assert drawn[3, 5, 0] > drawn[3, 5, 2], "orange"


def test_values_below_0_are_blue():
    drawn = overlay(WHITE, torch.tensor([[1.0, -1.0]]))
    assert drawn[0, 0, 0] > drawn[0, 0, 2] and drawn[0, -1, 2] > drawn[0, -1, 0]


def test_at_full_strength_three_quarters_are_colour():
    drawn = overlay(np.zeros((1, 2, 3), dtype=np.uint8), torch.tensor([[5.0, 7.0]]))
    assert drawn.tolist() == [[[0, 0, 0], [172, 73, 1]]]


def test_a_constant_map_leaves_the_image_grey():
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[..., 1] = 100  # green of luma 58.7
    assert (overlay(pixels, torch.full((3, 3), 0.4)) == 59).all()
