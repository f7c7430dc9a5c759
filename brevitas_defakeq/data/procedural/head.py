"""The head's skin: a relief of egg, nose, cheeks and chin, shaded under one lamp."""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Person
from brevitas_defakeq.data.procedural.shapes import bump, colour_of, cover, over_, shaded, smooth_noise


def outline(canvas: Canvas, person: Person) -> np.ndarray:
    """Signed distance ``[S, S]`` to the head's edge: an ellipse that narrows towards the chin."""
    below = np.clip(canvas.y - 0.1, 0, 1)
    width = person.head_width * (1 - person.jaw * below * np.sqrt(below))
    return (np.sqrt((canvas.x / width) ** 2 + canvas.y**2 * (1 / 1.05)) - 1) * person.head_width


def relief(canvas: Canvas, person: Person) -> np.ndarray:
    """Height of the face ``[S, S]`` in face units: an egg with brow, nose, cheeks, lips and chin on it."""
    x, y = canvas.front_x, canvas.front_y
    mirrored = np.abs(x)
    tip, wings, eyes = person.nose_length, person.nose_width, person.eye_gap
    smile = max(canvas.moment.smile, 0)
    hills = [
        (0.10, x, (0, 0.12), (0.065, 0.20)),  # bridge of the nose
        (0.12, x, (0, tip), (wings * 0.72, 0.085)),  # its tip
        (0.05, mirrored, (wings, tip + 0.03), (0.045, 0.05)),  # its wings
        (-0.085, mirrored, (eyes, -0.02), (0.16, 0.10)),  # eye sockets
        (0.035, mirrored, (eyes, -0.20), (0.20, 0.06)),  # brow ridge
        (0.05 + 0.04 * smile, mirrored, (0.42, 0.30), (0.17, 0.15)),  # cheeks
        (0.035, x, (0, person.mouth_height), (0.20, 0.08)),  # lips
        (-0.03, x, (0, person.mouth_height + 0.15), (0.16, 0.04)),  # dent under the lips
        (0.06, x, (0, 0.92), (0.16, 0.10)),  # chin
    ]
    height = 0.9 * np.sqrt(np.maximum(1.2 - canvas.rim, 0.06))
    for amount, across, centre, spread in hills:
        height += amount * bump(across, y, centre=centre, spread=spread)
    return height


def shading(canvas: Canvas, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Light on the skin and its gloss, both ``[S, S]``: ambient plus Lambert from the relief's slopes."""
    slope_y, slope_x = np.gradient(relief(canvas, person) * canvas.pixels)
    light, ambient = canvas.moment.light, canvas.moment.ambient
    facing = (light[2] - slope_x * light[0] - slope_y * light[1]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.maximum(facing, 0)
    gloss = facing**2
    gloss *= gloss
    gloss *= gloss
    return ambient + (1 - ambient) * facing, gloss * gloss


def paint_head_(canvas: Canvas, person: Person, *, generator: np.random.Generator) -> None:
    """Paint the skin with blush, mottling, freckles, stubble, folds and pores."""
    canvas = canvas.crop((0, 0), (0.86, 1.08))
    x, y = canvas.front_x, canvas.front_y
    light, gloss = shading(canvas, person)
    pores = generator.standard_normal(x.shape, dtype=np.float32)
    mottled = smooth_noise(x.shape, cells=12, generator=generator)
    light += (0.010 + 0.012 * person.age) * pores + 0.018 * mottled
    if person.freckles:
        speckles = smooth_noise(x.shape, cells=canvas.size // 3, generator=generator)
        light -= person.freckles * 1.5 * np.clip(speckles - 0.5, 0, 1)
    folds = bump(np.abs(x) - 0.18 * (y - 0.45), y, centre=(0.22, 0.52), spread=(0.018, 0.12))
    light *= 1 - (0.10 + 0.12 * person.age) * folds
    blush = 0.6 * bump(np.abs(x), y, centre=(0.43, 0.32), spread=(0.16, 0.13))
    blush += 0.5 * bump(x, y, centre=(0, 0.4), spread=(0.12, 0.09))
    skin = shaded(person.skin, light) + shaded(colour_of(0.035, -0.030, -0.022), blush)
    skin += 0.14 * gloss
    if person.beard:
        paint_beard_(canvas, person, skin, pores)
    over_(canvas.image, cover(outline(canvas, person), canvas.pixels), skin)


def paint_beard_(canvas: Canvas, person: Person, skin: np.ndarray, pores: np.ndarray) -> None:
    """Darken jaw, chin and upper lip of ``skin`` (``[3, S, S]``) in place, grainy, by the person's beard."""
    x, y = canvas.front_x, canvas.front_y
    ring = np.sqrt((x / 0.62) ** 2 + ((y - 0.25) / 0.72) ** 2)
    jaw = np.clip((ring - 0.72) * 5, 0, 1) * np.clip((y - 0.22) * 4, 0, 1)
    lip = bump(x, y, centre=(0, person.mouth_height - 0.13), spread=(0.16, 0.035))
    amount = person.beard * np.maximum(jaw, lip) * np.clip(0.85 + 0.15 * pores, 0, 1)
    over_(skin, amount, person.hair * 0.9 + 0.02)
