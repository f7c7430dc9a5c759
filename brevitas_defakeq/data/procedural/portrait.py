"""A drawn portrait: background to glasses, in painting order. Stylised drawings, not photographs."""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.data.procedural import features, hair, head, scene
from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Moment, Person
from brevitas_defakeq.data.procedural.shapes import to_bytes


def paint_portrait(
    person: Person, moment: Moment, *, size: int, generator: np.random.Generator
) -> np.ndarray:
    """Paint one person at one moment.

    Args:
        person, moment: what to paint (``draw_person``, ``draw_moment``).
        size: side in pixels, 64 to 512.
        generator: source of the background, the hair strands and the skin's texture.

    Returns uint8 ``[size, size, 3]`` as a scene without any camera: no noise, no lens, no compression.
    """
    canvas = Canvas(size, person=person, moment=moment)
    scene.paint_background_(canvas, generator=generator)
    strands = hair.strand_texture(canvas, person, generator=generator)
    scene.paint_hair_behind_(canvas, person, strands)
    scene.paint_body_(canvas, person, generator=generator)
    scene.paint_ears_(canvas, person)
    paint_front_(canvas, person, strands, generator=generator)
    hair.paint_hair_(canvas, person, strands)
    features.paint_glasses_(canvas, person)
    return developed(canvas)


def paint_mask(person: Person, moment: Moment, *, size: int, generator: np.random.Generator) -> np.ndarray:
    """The face's front alone on a plain ground, as a donor of an inner face: uint8 ``[size, size, 3]``."""
    canvas = Canvas(size, person=person, moment=moment)
    canvas.image[:] = person.skin[:, None, None]
    paint_front_(canvas, person, np.ones((size, size), dtype=np.float32), generator=generator)
    features.paint_glasses_(canvas, person)
    return developed(canvas)


def paint_front_(
    canvas: Canvas, person: Person, strands: np.ndarray, *, generator: np.random.Generator
) -> None:
    """Skin, eyes, brows, nose and mouth."""
    head.paint_head_(canvas, person, generator=generator)
    for side in (-1, 1):
        features.paint_eye_(canvas, person, side)
        features.paint_brow_(canvas, person, side, strands)
    features.paint_nose_(canvas, person)
    features.paint_mouth_(canvas, person)


def developed(canvas: Canvas) -> np.ndarray:
    """The canvas under the moment's tint and exposure, as uint8 ``[S, S, 3]``."""
    moment = canvas.moment
    return to_bytes(canvas.image * (moment.tint * moment.exposure)[:, None, None])
