"""Images on which an exported file has to agree with its model."""

from pathlib import Path
from typing import TypeVar

from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.image_batches import load_batch
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.sources import Sample, read_source
from brevitas_defakeq.export.export_card import preprocessing_of
from brevitas_defakeq.imaging.stored_files import is_stored
from brevitas_defakeq.utils.errors import UserError

_MAX_IMAGES = 64
Images = TypeVar("Images", Tensor, Listing)


def evenly_spaced(images: Images, count: int) -> Images:
    """At most ``count`` of images [N, ...] or of samples, evenly spaced."""
    return images[:: max(1, len(images) // count)][:count]


def verification_images(result: QuantizedDetector, data: str | Path | None) -> Tensor:
    """Up to 64 preprocessed images [N, 3, H, W]: of ``data``, of the run's calibration files, or drawn ones.

    Raises:
        UserError: no data are given and the calibration files are gone.
    """
    preprocessing = preprocessing_of(result)
    if data is not None:
        samples = read_source(data)
        return load_batch(evenly_spaced(samples, _MAX_IMAGES), preprocessing)
    if result.report["detector"]["name"] == "demo":
        from brevitas_defakeq.demo import drawn_calibration

        return drawn_calibration(preprocessing, _MAX_IMAGES)[0]
    files = [Path(name) for name in result.report["calibration"]["files"][:_MAX_IMAGES]]
    if not files or not all(map(is_stored, files)):
        raise UserError(
            "the run's calibration images, on which the file is checked, are gone; give --data with "
            "some faces, or --no-verify"
        )
    return load_batch([Sample(file, None, file.name, "") for file in files], preprocessing)
