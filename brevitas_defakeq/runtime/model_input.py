"""From an image to the exported graph's input, by the function that training uses."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.imaging.pixel_modes import to_rgb, upright_rgb
from brevitas_defakeq.imaging.preprocessing import preprocess_array
from brevitas_defakeq.runtime.card import CardInput
from brevitas_defakeq.utils.errors import UserError, one_line

#: A face crop: a file, a PIL image, or uint8 pixels [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA).
ImageLike = str | os.PathLike | Image.Image | np.ndarray


def model_input(image: ImageLike, expected: CardInput) -> np.ndarray:
    """One image as the graph takes it: [3, H, W] or [H, W, 3] of the card's layout and type.

    A uint8 graph pre-processes by itself and gets the RGB pixels at their own size; otherwise they are
    resized and normalised by `preprocess_array`. Raises UserError if the image cannot be used.
    """
    opened = open_image(image)
    if expected.dtype == "uint8":
        pixels = np.asarray(opened)  # [H, W, 3]
        return pixels if expected.layout == "NHWC" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    values = preprocess_array(opened, expected.preprocessing).astype(expected.dtype)  # [3, H, W]
    return values if expected.layout == "NCHW" else np.ascontiguousarray(values.transpose(1, 2, 0))


def open_image(image: ImageLike) -> Image.Image:
    """The image as upright 8-bit RGB: grey repeated, alpha dropped, 8 bits a channel.

    Raises UserError for a file that is missing or damaged, and for pixels of another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    if isinstance(image, np.ndarray):
        return _from_pixels(image)
    if not isinstance(image, Image.Image):
        raise UserError(
            f"an image of type {type(image).__name__} is not known; give a path, a PIL image or uint8 pixels"
        )
    try:
        return upright_rgb(image)
    except (OSError, SyntaxError, ValueError) as error:  # PIL reads the file only now
        raise UserError(f"an image cannot be read ({one_line(error)})") from None


def each_image(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Iterates over one or several images; arrays may be [N, H, W, C].

    Raises UserError for what is neither an image nor an iterable.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return iter([images])
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return iter([images])
    if not isinstance(images, Iterable):
        raise UserError(f"images of type {type(images).__name__}: give a path, an image, or a list of them")
    return iter(images)


def batches(inputs: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Consecutive inputs of equal shape stacked to [up to batch_size, ...], in order."""
    waiting: list[np.ndarray] = []
    for item in inputs:
        if waiting and (len(waiting) == batch_size or item.shape != waiting[0].shape):
            yield np.stack(waiting)
            waiting = []
        waiting.append(item)
    if waiting:
        yield np.stack(waiting)


def _from_pixels(pixels: Any) -> Image.Image:
    """A PIL image of uint8 pixels."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise UserError(
            f"pixels of type {pixels.dtype} and shape {list(pixels.shape)} are no image; give uint8, "
            "[H, W, 3] in RGB, on the scale 0..255"
        )
    return to_rgb(Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and channels == 1 else pixels))
