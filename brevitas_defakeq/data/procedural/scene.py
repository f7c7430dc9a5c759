"""What surrounds the face: background, clothes, neck, ears and the hair behind the head."""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Person, muted_colour
from brevitas_defakeq.data.procedural.shapes import colour_of, cover, ellipse, over_, shaded, smooth_noise


def paint_background_(canvas: Canvas, *, generator: np.random.Generator) -> None:
    """A wall or a blurred interior: a gradient, soft blobs, sometimes an edge, fine texture."""
    size, uniform = canvas.size, generator.uniform
    first, second = muted_colour(generator=generator), muted_colour(generator=generator)
    second = first + uniform(0.1, 0.8) * (second - first)
    clouds = smooth_noise((size, size), cells=int(generator.integers(3, 10)), generator=generator)
    slope = uniform(-0.5, 0.5) * canvas.y + uniform(-0.5, 0.5) * canvas.x
    mix = np.clip(0.5 + slope + uniform(0.05, 0.4) * clouds, 0, 1)
    mix += uniform(0.0, 0.05) * generator.standard_normal((size, size), dtype=np.float32)
    if uniform() < 0.4:
        across = canvas.x * uniform(0.6, 1) + canvas.y * uniform(-0.3, 0.3) - uniform(-1.2, 1.2)
        mix += uniform(-0.6, 0.6) * cover(across, 20)
    canvas.image[:] = first[:, None, None] + shaded(second - first, mix)


def paint_hair_behind_(canvas: Canvas, person: Person, strands: np.ndarray) -> None:
    """Long hair falling behind the neck; nothing for short hair."""
    if person.hair_length == 0:
        return
    radii = (person.head_width + 0.05 + person.hair_volume * 0.7, 1.0 + person.hair_length * 0.55)
    falling = ellipse(canvas.x, canvas.y, centre=(0, person.hair_length * 0.35), radii=radii)
    over_(canvas.image, cover(falling, canvas.pixels * 0.5), shaded(person.hair, 0.25 + 0.5 * strands))


def paint_body_(canvas: Canvas, person: Person, *, generator: np.random.Generator) -> None:
    """Shoulders with a weave, and the neck with the chin's shadow on it."""
    rise, weave, weight = generator.uniform(0.2, 0.5), generator.uniform(15, 45), generator.uniform(0, 0.08)
    start = int(canvas.size * 0.55)
    x, y, image = canvas.x[start:], canvas.y[start:], canvas.image[:, start:]
    light = canvas.moment.light[0]
    shoulders = 1.30 + rise * np.minimum(x * x, 1.6) - y
    cloth = (1 + weight * np.sin(x * weave)) * (1 + 0.25 * light * x)
    over_(image, cover(shoulders, canvas.pixels), shaded(person.clothes, cloth))
    half_width = person.head_width * 0.60 + 0.10 * np.maximum(y - 1.1, 0)
    neck = np.maximum(np.maximum(np.abs(x) - half_width, y - 1.42 + 0.5 * x * x), 0.2 - y)
    chin_shadow = 0.62 + 0.38 * np.clip((y - 0.85) / 0.6, 0, 1)
    round_shade = 0.82 - 0.5 * x * x + 0.25 * light * x
    over_(image, cover(neck, canvas.pixels), shaded(person.skin, round_shade * chin_shadow))


def paint_ears_(canvas: Canvas, person: Person) -> None:
    """Two ears half behind the head, shifted against the yaw."""
    shadow = colour_of(1.0, 0.92, 0.90)
    for side in (-1, 1):
        centre = side * (person.head_width + 0.005) - 0.35 * canvas.moment.yaw
        image, x, y, _ = canvas.window((centre, 0.08), 0.36)
        ear = ellipse(x, y, centre=(0, 0), radii=(0.075, 0.19))
        shade = 0.78 + 0.12 * side * canvas.moment.light[0]
        over_(image, cover(ear, canvas.pixels), person.skin * shadow * shade)
        inner = ellipse(x, y, centre=(side * 0.01, -0.02), radii=(0.040, 0.12))
        over_(image, 0.45 * cover(inner, canvas.pixels * 0.4), person.skin * 0.5)
