"""Images on which an exported file has to agree with its model."""

from pathlib import Path

from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.image_batches import load_batch
from brevitas_defakeq.data.sources import Sample, read_source
from brevitas_defakeq.imaging.stored_files import is_stored
from brevitas_defakeq.utils.errors import UserError

COUNT = 64


def some(images, count: int):
    """At most ``count`` of a tensor's images or of samples, evenly spread."""
    return images[:: max(1, len(images) // count)][:count]


def verification_images(result: QuantizedDetector, data: str | Path | None) -> Tensor:
    """Up to 64 preprocessed images [N, 3, H, W]: of ``data``, of the run's calibration files, or drawn ones.

    Raises:
        UserError: no data are given and the calibration files are gone.
    """
    if data is not None:
        samples = read_source(data)
        return load_batch(some(samples, COUNT), result.preprocessing)
    if result.report["detector"]["name"] == "demo":
        from brevitas_defakeq.demo import drawn_calibration

        return drawn_calibration(result.preprocessing, COUNT)[0]
    files = [Path(name) for name in result.report["calibration"]["files"][:COUNT]]
    if not files or not all(map(is_stored, files)):
        raise UserError(
            "the run's calibration images are not at hand to check the file on; give --data with some faces, "
            "or --no-verify"
        )
    return load_batch([Sample(file, None, file.name, "") for file in files], result.preprocessing)
