"""From a picture to the detector's input: the one pre-processing that every stage uses.

The resize method alone moves the AUC of a detector by several points, so it is pinned here, tested by
value and stored with each run.
"""

from __future__ import annotations

import numbers
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from brevitas_defakeq.imaging import opencv_resize
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

#: The names of PIL's resampling filters. All but `nearest` widen with the reduction (antialiasing).
PIL_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
#: OpenCV's filters, which do not widen: our name -> the name in `imaging.opencv_resize`.
OPENCV_FILTERS = {"cv2_linear": "linear", "cv2_cubic": "cubic"}
INTERPOLATIONS = (*PIL_FILTERS, *OPENCV_FILTERS)
#: How the picture comes to the input's size: resized as a whole, or its centre cut out at its own scale.
FITS = ("stretch", "centre")

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Preprocessing:
    """How a face crop becomes the detector's input.

    `input_size` is (height, width) in pixels; `interpolation` one of `INTERPOLATIONS`; `mean` and `std` are
    per RGB channel on the scale 0..1; `fit` "stretch" resizes the whole picture, "centre" cuts its centre out
    without resizing (a smaller picture gets black borders). Raises UserError for anything else.

    >>> Preprocessing((224, 224)).to_dict()["interpolation"]
    'bilinear'
    """

    input_size: tuple[int, int]
    interpolation: str = "bilinear"  #: what most detectors' own code resizes with
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  #: the field's convention, x / 127.5 - 1
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fit: str = "stretch"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", _size(self.input_size))
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
        """The JSON form: lists, numbers and one word."""
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


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """The picture as the detector's input, float32 [3, H, W].

    RGB, resized on 8-bit values (rounded; as a whole, since the picture is already a face crop, unless `fit`
    says otherwise), divided by 255, normalised.
    """
    import torch

    return torch.from_numpy(preprocess_array(image, preprocessing))


def preprocess_array(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """`preprocess` without torch: a contiguous float32 array [3, H, W]."""
    pixels = fitted(to_rgb(image), preprocessing).astype(np.float32) / np.float32(255)  # [H, W, 3]
    mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def fitted(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """An RGB picture at the input's size, uint8 [H, W, 3]."""
    height, width = preprocessing.input_size
    if preprocessing.fit == "centre":
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return np.asarray(image.crop((left, top, left + width, top + height)))
    if preprocessing.interpolation in OPENCV_FILTERS:
        kind = OPENCV_FILTERS[preprocessing.interpolation]
        return opencv_resize.resize(np.asarray(image), preprocessing.input_size, kind)
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    return np.asarray(image.resize((width, height), resampling))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8-bit RGB: grey repeated, alpha dropped (as detectors' readers do), 16 bits scaled to 8.

    Raises UserError for floating-point pixels, whose scale is unknown.
    """
    if image.mode == "F":
        raise UserError(
            "the image holds floating-point pixels, whose scale is unknown; save it with 8 bits a channel"
        )
    if image.mode in _SIXTEEN_BIT_MODES:
        pixels = np.asarray(image, dtype=np.float64).clip(0, 65535)
        image = Image.fromarray(np.round(pixels / 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def preprocessing_from_timm(model: nn.Module) -> Preprocessing:
    """Input size, interpolation, mean and std of a timm model, from its `pretrained_cfg`.

    A model that was built for another `img_size` keeps that size. `crop_pct` is ignored: timm enlarges and
    cuts the centre out of photographs, while faces come already cropped. Raises UserError if the model is not
    timm's.
    """
    configuration = getattr(model, "pretrained_cfg", None)
    if not configuration:
        raise UserError(
            f"{type(model).__name__} has no timm configuration; give input size, mean and std yourself"
        )
    built_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
    interpolation = configuration.get("interpolation")
    return Preprocessing(
        input_size=built_for or configuration["input_size"][1:],
        interpolation=interpolation if interpolation in PIL_FILTERS else "bicubic",  # timm's own fallback
        mean=configuration["mean"],
        std=configuration["std"],
    )


def override(
    preprocessing: Preprocessing,
    *,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
) -> Preprocessing:
    """A copy with the given values in place; None keeps what is there, one number stands for all channels."""
    given = {"input_size": input_size, "interpolation": interpolation, "mean": mean, "std": std}
    return replace(preprocessing, **{key: value for key, value in given.items() if value is not None})


def _size(value: Any) -> tuple[int, int]:
    """(height, width) from a pair or from one number for both."""
    pair = _as_tuple(value, 2)
    if len(pair) != 2 or not all(isinstance(side, numbers.Integral) and side > 0 for side in pair):
        raise UserError(f"input_size={value!r} is not a size; give pixels above 0, as in 224 or (224, 224)")
    return int(pair[0]), int(pair[1])


def _three(name: str, value: Any) -> tuple[float, float, float]:
    """Three finite numbers from a triple or from one number for all."""
    triple = _as_tuple(value, 3)
    if len(triple) == 1:
        triple *= 3
    if len(triple) != 3 or not all(isinstance(item, numbers.Real) and np.isfinite(item) for item in triple):
        raise UserError(
            f"{name}={value!r} is not a channel statistic; give one or three numbers on the scale 0..1"
        )
    return tuple(float(item) for item in triple)


def _as_tuple(value: Any, length: int) -> tuple:
    """A tuple from a list or tuple; a single number is repeated."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * length
