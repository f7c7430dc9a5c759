"""The host's arithmetic around the device: from pixels to integers, and from the device's output to a logit.

Needs numpy and `host.json` only. On the board:

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
    """The arithmetic that `host.json` describes."""

    def __init__(self, path: str | Path) -> None:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        self.input, self.output = content["input"], content["output"]

    def integers(self, image: np.ndarray) -> np.ndarray:
        """Integers as float32 [1, H, W, 3] of an image float32 [H, W, 3] from 0 to 1."""
        given = self.input
        normalized = (image.astype(np.float32) - np.float32(given["mean"])) / np.float32(given["std"])
        codes = np.round(normalized / np.float32(given["scale"]) + np.float32(given["zero_point"]))
        return (np.clip(codes, given["low"], given["high"]) - given["zero_point"])[None]

    def logit(self, answer: np.ndarray) -> float:
        """The logit of one image; the verdict is fake above the threshold of `host.json`."""
        return float(
            answer.reshape(-1).astype(np.float64) @ np.array(self.output["scale"]) + self.output["bias"]
        )
