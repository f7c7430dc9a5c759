"""From an image to the detector's input: the one pre-processing that every stage uses.

The resize method alone changes a detector's AUC by several points, so it is fixed here, tested by value and
stored with each run.
"""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from brevitas_defakeq.imaging import opencv_resize
from brevitas_defakeq.imaging.pixel_modes import to_rgb
from brevitas_defakeq.utils.errors import UserError

#: PIL's resampling filters. All but `nearest` widen with the reduction (antialiasing).
PIL_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
#: OpenCV's filters, which do not widen: our name -> the name in `imaging.opencv_resize`.
OPENCV_FILTERS = {"cv2_linear": "linear", "cv2_cubic": "cubic"}
INTERPOLATIONS = (*PIL_FILTERS, *OPENCV_FILTERS)
#: How an image gets the input's size: the whole image resized, or its centre cropped without resizing.
FITS = ("stretch", "centre")


@dataclass(frozen=True)
class Preprocessing:
    """How a face crop becomes the detector's input.

    The constructor also takes lists, as JSON gives them, and one number for all sides or channels. Raises
    UserError for values out of range.

    Attributes:
        input_size: (height, width) in pixels.
        interpolation: one of `INTERPOLATIONS`.
        mean: per RGB channel, on the scale 0..1.
        std: as `mean`, above 0.
        fit: "stretch" resizes the whole image; "centre" crops its centre without resizing (a smaller image
            gets black borders).

    >>> Preprocessing((224, 224)).to_dict()["interpolation"]
    'bilinear'
    """

    input_size: tuple[int, int]
    interpolation: str = "bilinear"  #: what most detectors' own code resizes with
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  #: the field's convention, x / 127.5 - 1
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fit: str = "stretch"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", size_pair(self.input_size))
        object.__setattr__(self, "mean", _three("mean", self.mean))
        object.__setattr__(self, "std", _three("std", self.std))
        if self.interpolation not in INTERPOLATIONS:
            allowed = ", ".join(INTERPOLATIONS)
            raise UserError(f"interpolation={self.interpolation!r} is not known; choose one of {allowed}")
        if self.fit not in FITS:
            raise UserError(f"fit={self.fit!r} is not known; choose one of {', '.join(FITS)}")
        if min(self.std) <= 0:
            raise UserError(
                f"std={self.std}: every value must be above 0; the scale is 0..1, as in 0.5,0.5,0.5"
            )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: lists, numbers and strings."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `to_dict`; raises UserError for unknown or missing fields."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown or "input_size" not in values:
            problem = f"unknown: {', '.join(unknown)}" if unknown else "input_size is missing"
            allowed = ", ".join(cls.__dataclass_fields__)
            raise UserError(f"the pre-processing has wrong fields ({problem}); allowed are {allowed}")
        return cls(**values)


def preprocess_array(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """The image as the detector's input, contiguous float32 [3, H, W].

    RGB, resized in 8 bits (rounded), divided by 255, normalised. The image is already a face crop, so all of
    it is resized unless `fit` is "centre".
    """
    pixels = fitted(to_rgb(image), preprocessing).astype(np.float32) / np.float32(255)  # [H, W, 3]
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def fitted(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """An RGB image resized or cropped to the input's size, uint8 [H, W, 3]."""
    height, width = preprocessing.input_size
    if preprocessing.fit == "centre":
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return np.asarray(image.crop((left, top, left + width, top + height)))
    if preprocessing.interpolation in OPENCV_FILTERS:
        kind = OPENCV_FILTERS[preprocessing.interpolation]
        return opencv_resize.resize(np.asarray(image), preprocessing.input_size, kind)
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    return np.asarray(image.resize((width, height), resampling))


def override(
    preprocessing: Preprocessing,
    *,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
) -> Preprocessing:
    """A copy with the given values; None keeps a value, one number counts for all sides or channels."""
    return replace(
        preprocessing,
        input_size=preprocessing.input_size if input_size is None else size_pair(input_size),
        interpolation=interpolation or preprocessing.interpolation,
        mean=preprocessing.mean if mean is None else _three("mean", mean),
        std=preprocessing.std if std is None else _three("std", std),
    )


def size_pair(value: Any) -> tuple[int, int]:
    """(height, width) from a pair or from one number for both. Raises UserError for anything else."""
    pair = _as_tuple(value, 2)
    if len(pair) != 2 or not all(isinstance(side, numbers.Integral) and int(side) > 0 for side in pair):
        raise UserError(f"input_size={value!r} is not a size; give pixels above 0, as in 224 or (224, 224)")
    return int(pair[0]), int(pair[1])


def _three(name: str, value: Any) -> tuple[float, float, float]:
    """Three finite numbers from a triple or from one number for all."""
    triple = _as_tuple(value, 3)
    if len(triple) == 1:
        triple *= 3
    if len(triple) != 3 or not all(
        isinstance(item, numbers.Real) and np.isfinite(float(item)) for item in triple
    ):
        raise UserError(
            f"{name}={value!r} is not a channel statistic; give one or three numbers on the scale 0..1"
        )
    first, second, third = map(float, triple)
    return first, second, third


def _as_tuple(value: Any, length: int) -> tuple:
    """A tuple from a list or tuple; a single number is repeated."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * length
