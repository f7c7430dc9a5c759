"""A saliency map drawn over its image."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

#: Of values above 0 (rollout; what speaks for fake) and below 0 (for real), which every kind of colour vision
#: tells apart: orange and blue.
_COLOURS = np.array([[230.0, 97.0, 1.0], [33.0, 102.0, 172.0]])
#: Of the colour where the map is strongest, so that the image stays visible there.
_OPACITY = 0.75


def overlay(pixels: np.ndarray, saliency: Tensor) -> np.ndarray:
    """The image in grey under orange where the map is above 0 and blue where it is below.

    Opacity grows linearly, from the value that is nearest to 0 to the one that is furthest from it; unlike
    the colours of a colour map, it needs no legend.

    Args:
        pixels: uint8 RGB, [H, W, 3].
        saliency: one map, [h, w], enlarged to the image; a constant one leaves it grey.

    Returns:
        uint8 RGB, [H, W, 3].
    """
    enlarged = F.interpolate(saliency[None, None].double(), pixels.shape[:2], mode="bilinear")[0, 0]
    values = enlarged.cpu().numpy()
    values = values - np.clip(0.0, values.min(), values.max())
    opacity = _OPACITY * np.abs(values) / max(np.abs(values).max(), np.finfo(float).tiny)
    colours = np.where(values[..., None] > 0, *_COLOURS)
    grey = pixels @ np.array([0.299, 0.587, 0.114])  # luma of ITU-R BT.601
    blended = grey[..., None] * (1 - opacity[..., None]) + colours * opacity[..., None]
    return blended.round().astype(np.uint8)
