"""What the host does around the device: pixels to whole numbers, and the device's answer to a logit.

Needs numpy and `host.json` beside it. On the board:

    from host import Host
    host = Host("host.json")
    logit = host.logit(accelerator.execute(host.integers(image)))

``accelerator`` is the object of FINN+'s PYNQ driver (`finn-plus-driver`) for the bitstream. ``image`` is the
cropped and resized face, float32 [height, width, 3] from 0 to 1.
"""

import json
from pathlib import Path

import numpy as np


class Host:
    """The two ends of a network, as `host.json` describes them."""

    def __init__(self, path: str | Path) -> None:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        self.input, self.output = content["input"], content["output"]

    def integers(self, image: np.ndarray) -> np.ndarray:
        """Whole numbers [1, height, width, 3] of an image [height, width, 3] from 0 to 1."""
        given = self.input
        normal = (image.astype(np.float32) - np.float32(given["mean"])) / np.float32(given["std"])
        codes = np.round(normal / np.float32(given["scale"]) + np.float32(given["zero_point"]))
        return (np.clip(codes, given["low"], given["high"]) - given["zero_point"])[None]

    def logit(self, answer: np.ndarray) -> float:
        """The logit; above the threshold of `host.json` the image is called fake."""
        return float(
            answer.reshape(-1).astype(np.float64) @ np.array(self.output["scale"]) + self.output["bias"]
        )
