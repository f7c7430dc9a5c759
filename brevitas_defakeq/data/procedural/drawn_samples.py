"""Drawn faces as samples without files, with labels, videos and forgery families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from brevitas_defakeq.data.procedural.drawn_faces import FAMILIES, draw_many
from brevitas_defakeq.imaging.sample import Sample


def drawn_samples(
    count: int, *, seed: int, families: Sequence[str] = FAMILIES, size: int = 128, workers: int = 1
) -> tuple[list[Sample], Callable[[Sample], Image.Image]]:
    """``count`` drawn faces, half of them forged, and the function that gives a sample's image.

    The arguments are those of ``draw_many``. The images stay in memory (48 kB each at 128 pixels); the
    samples' paths name no files.
    """
    faces = draw_many(count, seed=seed, families=families, size=size, workers=workers)
    samples = [
        Sample(Path(f"drawn/{seed}/{index:06d}"), face.label, face.video, "drawn", face.family * face.label)
        for index, face in enumerate(faces)
    ]
    return samples, lambda sample: Image.fromarray(faces[int(sample.path.name)].image)
