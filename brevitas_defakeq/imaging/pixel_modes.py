"""Any of PIL's pixel modes as 8-bit RGB, with the brightness that the file means."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, features

from brevitas_defakeq.utils.errors import UserError

#: The tag of a TIFF that holds the bits of a channel.
_BITS_PER_SAMPLE = 258


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image as `to_rgb` gives it, turned and mirrored as its EXIF orientation says."""
    bits = _stored_bits(image)  # first: the upright image knows nothing of its file
    return to_rgb(ImageOps.exif_transpose(image), bits)


def to_rgb(image: Image.Image, bits: int | None = None) -> Image.Image:
    """The image as 8-bit RGB: grey repeated, alpha dropped (as in detectors' own code), deeper grey reduced.

    Args:
        image: of any mode.
        bits: of a grey value, where the file tells. Without it, modes of 16 bits count up to
            65535; integers of 32 bits count up to 255, or up to 65535 if any is larger; floating-point values
            up to 1, or up to 255 if any is larger.

    Raises:
        UserError: the values fit no such scale.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image, bits)
    elif image.mode == "LAB":
        image = _from_lab(image)
    elif image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _stored_bits(image: Image.Image) -> int | None:
    """Bits of a grey value that an opened file holds in a wider mode; None where the mode alone tells."""
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 16
    if image.mode.startswith("I;16") and image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        return int(np.max(tags.get(_BITS_PER_SAMPLE, 16)))
    return None


def _eight_bits(image: Image.Image, bits: int | None) -> Image.Image:
    """Grey of 16 or 32 bits, or in floating point, as mode L."""
    values = np.asarray(image).astype(np.float64)
    lowest, highest = float(values.min()), float(values.max())
    if bits is not None or image.mode != "I" and image.mode != "F":
        top = 2.0 ** (bits or 16) - 1
    else:
        scales = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((scale for scale in scales if highest <= scale), np.nan)
    if not (lowest >= 0 and highest <= top):
        kind = "floating-point" if image.mode == "F" else "32-bit integer"
        raise UserError(
            f"its {kind} pixels lie between {lowest:g} and {highest:g}, a scale that is not known; save it "
            "with 8 bits a channel"
        )
    return Image.fromarray(np.round(values * 255 / top).astype(np.uint8))


def _from_lab(image: Image.Image) -> Image.Image:
    """CIE Lab (D50) as sRGB; Pillow converts it only where it has LittleCMS."""
    if not features.check("littlecms2"):
        raise UserError("its pixels are CIE Lab, which this Pillow cannot convert; save it as RGB")
    from PIL import ImageCms

    source, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    if converted is None:  # only with inPlace=True
        raise TypeError("profileToProfile returned no image")
    return converted
