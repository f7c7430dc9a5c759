"""Eyes, brows, nostrils, mouth and glasses, each painted in a small window of the image."""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Person
from brevitas_defakeq.data.procedural.shapes import bump, colour_of, cover, ellipse, over_, shaded

DARK = colour_of(0.06, 0.04, 0.04)
WHITE = colour_of(0.93, 0.90, 0.88)
TEETH = colour_of(0.90, 0.87, 0.82)
GUMS = colour_of(0.20, 0.07, 0.07)


def paint_eye_(canvas: Canvas, person: Person, side: int) -> None:
    """One eye (``side`` -1 left, 1 right of the image): white, iris, lids, lashes, crease and bag."""
    image, x, y, _ = canvas.window((side * person.eye_gap, 0.0), person.eye_width + 0.10)
    pixels, moment = canvas.pixels, canvas.moment
    y = y + side * person.eye_tilt * x
    width, height = person.eye_width, person.eye_height * moment.eye_open
    arch = np.maximum(1 - (x / width) ** 2, -1)
    upper, lower = -height * arch, 0.75 * height * arch
    opening = cover(np.maximum(upper - y, y - lower), pixels)
    lit = 0.55 + 0.40 * moment.ambient + 0.1 * side * moment.light[0]
    lid_shadow = bump(x, y, centre=(0, -height), spread=(width, height * 0.5))
    over_(image, opening, shaded(WHITE, lit - 0.33 * lid_shadow))
    paint_iris_(image, x, y, opening, canvas=canvas, person=person, lit=lit)
    inside = cover(np.abs(x) - width * 1.04, pixels)
    over_(image, 0.85 * inside * cover(np.abs(y - upper + 0.008) - 0.013, pixels), DARK)
    over_(image, 0.35 * inside * cover(np.abs(y - lower) - 0.006, pixels), DARK + 0.1)
    crease = np.abs(y - 1.25 * upper + 0.045) - 0.008
    over_(image, 0.45 * inside * cover(crease, pixels * 0.7), person.skin * 0.42)
    bag = np.abs(y - lower - 0.06) - 0.010
    over_(image, (0.12 + 0.25 * person.age) * inside * cover(bag, pixels * 0.4), person.skin * 0.5)


def paint_iris_(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    opening: np.ndarray,
    *,
    canvas: Canvas,
    person: Person,
    lit: float,
) -> None:
    """Iris with a dark rim, pupil and the lamp's highlight, inside the lids' ``opening``."""
    moment, pixels = canvas.moment, canvas.pixels
    gaze = (moment.gaze[0] * person.eye_width * 0.5, moment.gaze[1] * person.eye_height - 0.004)
    size = person.eye_height * 1.02
    iris = ellipse(x, y, centre=gaze, radii=(size, size))
    ring = np.clip(0.55 + 0.8 * (iris / size + 1), 0.5, 1.15) * (1 - 0.4 * (iris > -0.012))
    over_(image, opening * cover(iris, pixels), shaded(person.iris, ring * lit))
    over_(image, opening * cover(iris + 0.58 * size, pixels), DARK * 0.6)
    glint = ellipse(x, y, centre=(gaze[0] + moment.light[0] * 0.03, gaze[1] - 0.022), radii=(0.016, 0.016))
    over_(image, 0.9 * opening * cover(glint, pixels), WHITE + 0.06)


def paint_brow_(canvas: Canvas, person: Person, side: int, strands: np.ndarray) -> None:
    """One brow: an arched stroke, thinner to the outside, grainy as hair is."""
    height = person.brow_height + canvas.moment.brow_raise
    image, x, y, where = canvas.window((side * person.eye_gap, -height), 0.30)
    outward = side * x
    arch = -person.brow_arch * (1 - ((outward - 0.03) / 0.18) ** 2)
    thickness = person.brow_weight * np.clip(1.05 - 1.8 * (outward + 0.05), 0.25, 1.15)
    stroke = np.maximum(np.abs(y - arch) - thickness, np.abs(outward - 0.015) - 0.205)
    mask = 0.88 * cover(stroke, canvas.pixels * 0.6) * np.clip(0.55 + 0.4 * strands[where], 0.4, 1)
    over_(image, mask, person.hair * 0.55 + person.skin * 0.06)


def paint_nose_(canvas: Canvas, person: Person) -> None:
    """Nostrils and the shadow under the nose; its form comes from the head's relief."""
    wings = person.nose_width
    image, x, y, _ = canvas.window((0.0, person.nose_length + 0.06), 0.25)
    shadow = bump(x, y, centre=(-0.02 * canvas.moment.light[0], 0.035), spread=(wings * 0.9, 0.022))
    crease = bump(np.abs(x), y, centre=(wings * 1.12, -0.03), spread=(0.014, 0.04))
    image *= (1 - 0.30 * shadow) * (1 - 0.22 * crease)
    nostrils = ellipse(np.abs(x), y, centre=(wings * 0.52, 0.004), radii=(wings * 0.30, 0.021))
    over_(image, 0.78 * cover(nostrils, canvas.pixels * 0.7), person.skin * 0.22)


def paint_mouth_(canvas: Canvas, person: Person) -> None:
    """Lips with a bow, the line between them, and teeth where the mouth is open."""
    moment, weight = canvas.moment, person.lip_weight
    image, x, y, _ = canvas.window((0.0, person.mouth_height), 0.42)
    pixels, lit = canvas.pixels * 0.8, 0.55 + 0.45 * moment.ambient
    width = person.mouth_width * (1 + 0.20 * moment.smile)
    along = x / width
    inside = np.maximum(1 - along**2, 0)
    taper = np.sqrt(inside)
    line = 0.10 * moment.smile * (0.4 - along**2) + 0.006 * np.cos(along * 6)
    gap = 0.085 * moment.mouth_open * taper
    top, bottom, beyond = line - 0.3 * gap, line + 0.7 * gap, np.abs(x) - width
    bow = weight * (0.80 * taper - 0.22 * bump(along, along, centre=(0, 0), spread=(0.14, 0.14)))
    full = weight * 1.15 * taper * (0.6 + 0.4 * inside)
    upper = cover(np.maximum(np.maximum(top - bow - y, y - top), beyond), pixels)
    over_(image, 0.9 * upper, person.lips * 0.80 * lit)
    shine = (moment.light[0] * 0.08, 0.6 * weight + 0.05 * moment.mouth_open)
    gloss = bump(x, y, centre=shine, spread=(0.09, 0.018))
    lower = cover(np.maximum(np.maximum(bottom - y, y - bottom - full), beyond), pixels)
    over_(image, 0.9 * lower, (person.lips * lit)[:, None, None] + 0.14 * gloss)
    if moment.mouth_open:
        hole = cover(np.maximum(np.maximum(top - y, y - bottom), beyond), pixels)
        over_(image, hole, GUMS)
        row = hole * cover(y - line - gap * 0.3, pixels) * (inside > 0.12)
        over_(image, row, TEETH * (0.55 + 0.35 * moment.ambient))
    else:
        parting = cover(np.maximum(np.abs(y - line) - 0.009, beyond - 0.015), pixels)
        over_(image, 0.75 * parting, person.lips * 0.25)
    below = weight * 1.5 + 0.06 + 0.04 * moment.smile
    image *= 1 - 0.16 * bump(x, y, centre=(0, below), spread=(0.13, 0.022))


def paint_glasses_(canvas: Canvas, person: Person) -> None:
    """Thin rims around both eyes and a bridge; nothing for people without glasses."""
    if not person.glasses:
        return
    image, x, y, _ = canvas.window((0.0, 0.02), 0.70)
    rims = np.abs(ellipse(np.abs(x), y, centre=(person.eye_gap, 0.02), radii=(0.24, 0.19))) - 0.012
    bridge = np.maximum(np.abs(y + 0.01) - 0.012, np.abs(x) - (person.eye_gap - 0.235))
    over_(image, 0.85 * cover(np.minimum(rims, bridge), canvas.pixels), DARK + 0.05)
