"""Strands, and the hair on top of the head."""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Person
from brevitas_defakeq.data.procedural.shapes import bump, cover, over_, shaded, smooth_noise


def strand_texture(canvas: Canvas, person: Person, *, generator: np.random.Generator) -> np.ndarray:
    """Brightness of hair strands ``[S, S]``, about 0.4 to 1.6, running down from the parting."""
    across = canvas.x - person.parting * 0.6
    turn = (across / (canvas.y + 2.2)) * 60 * person.strand_density + 90
    turn += person.curl * smooth_noise(canvas.x.shape, cells=8, generator=generator)
    np.clip(turn, 0, 500, out=turn)
    table = generator.standard_normal(512, dtype=np.float32)
    lower = turn.astype(np.int32)
    part = turn - lower
    streaks = table[lower] * (1 - part) + table[lower + 1] * part
    shine = bump(canvas.x, canvas.y, centre=(canvas.moment.light[0] * 0.5, -0.85), spread=(0.4, 0.12))
    return 1 + 0.26 * streaks + 0.35 * shine


def paint_hair_(canvas: Canvas, person: Person, strands: np.ndarray) -> None:
    """Hair inside the skull grown by the hair's volume and outside the hairline; nothing for the bald.

    The hairline is a curve over the forehead: level for a fringe, drawn up beside the parting, or receding
    at the temples; towards the ears it falls down to the sideburns.
    """
    if person.bald:
        return
    volume = person.hair_volume
    strands = strands[canvas.box((0, -0.35), (0.88 + volume, 0.95 + volume))]
    canvas = canvas.crop((0, -0.35), (0.88 + volume, 0.95 + volume))
    x, y, side = canvas.x, canvas.y, np.abs(canvas.front_x)
    lowest = 0.05 if person.hair_length == 0 else 0.45
    thinning = np.clip((lowest + 0.05 - y) * 2.5, 0.0, 1.0)
    width = person.head_width + 0.005 + (0.015 + volume * 0.4) * thinning
    skull = (np.sqrt((x / width) ** 2 + ((y + 0.12) / (0.98 + volume)) ** 2) - 1) * 0.8
    swept = np.abs(canvas.front_x - person.parting)
    curve = person.hairline + person.sweep * swept * (1 - 0.5 * swept) + 0.035 * strands
    curve -= person.receding * bump(side, side, centre=(0.36, 0.36), spread=(0.16, 0.16))
    temple = np.maximum(side - person.head_width * 0.70, 0)
    curve += np.sqrt(temple) * (0.9 + person.hair_length)
    curve = np.minimum(curve, lowest)
    hairline = (canvas.front_y - curve) * 0.7
    shadow = cover(np.maximum(skull, hairline - 0.05), canvas.pixels * 0.3)
    canvas.image *= 1 - 0.22 * shadow
    shade = strands * (0.75 + 0.35 * canvas.moment.light[0] * x - 0.2 * y)
    hair = cover(np.maximum(skull, hairline), canvas.pixels * 0.45)
    over_(canvas.image, hair, shaded(person.hair + 0.015, shade))
