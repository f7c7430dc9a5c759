"""Who is drawn and how: an identity (shape and colours) and a moment of it (pose, expression, light).

Lengths are in face units: the head's centre is the origin, y points down and the chin lies near y = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Display colours from light to dark skin; an identity is between two neighbours.
SKIN_TONES = np.array(
    [
        [0.96, 0.82, 0.74],
        [0.91, 0.73, 0.62],
        [0.82, 0.62, 0.48],
        [0.68, 0.48, 0.35],
        [0.52, 0.35, 0.25],
        [0.37, 0.25, 0.19],
    ]
)
#: Black, dark brown, brown, red, blond, grey.
HAIR_COLOURS = np.array(
    [
        [0.07, 0.06, 0.06],
        [0.18, 0.11, 0.08],
        [0.33, 0.21, 0.13],
        [0.48, 0.22, 0.11],
        [0.74, 0.58, 0.35],
        [0.62, 0.61, 0.60],
    ]
)
#: Brown, dark brown, hazel, green, blue, grey.
IRIS_COLOURS = np.array(
    [
        [0.34, 0.20, 0.11],
        [0.19, 0.11, 0.07],
        [0.45, 0.34, 0.17],
        [0.30, 0.42, 0.26],
        [0.30, 0.46, 0.64],
        [0.42, 0.47, 0.51],
    ]
)


@dataclass(frozen=True)
class Person:
    """An identity: what all images of a person share. Lengths in face units, colours ``[3]`` in 0..1."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    clothes: np.ndarray
    head_width: float
    jaw: float
    eye_gap: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_weight: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    lip_weight: float
    hairline: float
    hair_volume: float
    hair_length: float
    parting: float
    sweep: float
    receding: float
    strand_density: float
    curl: float
    bald: bool
    beard: float
    freckles: float
    age: float
    glasses: bool


@dataclass(frozen=True)
class Moment:
    """One image of a person: pose, expression and light.

    ``scale`` is face units to half images, ``roll`` radians, ``yaw`` and ``pitch`` the shift of the face's
    front in face units, ``light`` a unit vector towards the lamp (z towards the camera).
    """

    scale: float
    shift: tuple[float, float]
    roll: float
    yaw: float
    pitch: float
    smile: float
    mouth_open: float
    eye_open: float
    gaze: tuple[float, float]
    brow_raise: float
    light: tuple[float, float, float]
    ambient: float
    tint: np.ndarray
    exposure: float


def between(colours: np.ndarray, *, generator: np.random.Generator, spread: float = 0.03) -> np.ndarray:
    """A colour ``[3]`` between two neighbours of ``colours``, jittered by ``spread``."""
    position = generator.uniform(0, len(colours) - 1.001)
    lower = int(position)
    mixed = colours[lower] + (position - lower) * (colours[lower + 1] - colours[lower])
    return np.clip(mixed + generator.normal(0, spread, 3), 0.03, 0.97).astype(np.float32)


def muted_colour(*, generator: np.random.Generator) -> np.ndarray:
    """A colour ``[3]`` of cloth or walls: any brightness, mostly little saturated."""
    grey = generator.uniform(0.10, 0.90)
    colourfulness = 0.03 + 0.16 * generator.uniform() ** 2
    return np.clip(grey + generator.normal(0, colourfulness, 3), 0.03, 0.97).astype(np.float32)


def draw_person(*, generator: np.random.Generator) -> Person:
    """A random identity; all ranges were chosen by eye."""
    uniform = generator.uniform
    skin = between(SKIN_TONES, generator=generator, spread=0.015)
    red = np.array([0.72, 0.25, 0.27]) * (0.45 + 0.6 * skin.mean())
    bearded, bald = bool(uniform() < 0.28), bool(uniform() < 0.06)
    return Person(
        skin=skin,
        hair=between(HAIR_COLOURS, generator=generator, spread=0.015),
        iris=between(IRIS_COLOURS, generator=generator, spread=0.02),
        lips=(skin * uniform(0.45, 0.7) + red * uniform(0.4, 0.65)).astype(np.float32).clip(0, 1),
        clothes=muted_colour(generator=generator),
        head_width=uniform(0.69, 0.80),
        jaw=uniform(0.12, 0.30),
        eye_gap=uniform(0.30, 0.36),
        eye_width=uniform(0.135, 0.175),
        eye_height=uniform(0.055, 0.08),
        eye_tilt=uniform(-0.10, 0.16),
        brow_height=uniform(0.17, 0.23),
        brow_weight=uniform(0.020, 0.044),
        brow_arch=uniform(0.01, 0.07),
        nose_width=uniform(0.095, 0.155),
        nose_length=uniform(0.36, 0.46),
        mouth_width=uniform(0.22, 0.31),
        mouth_height=uniform(0.62, 0.69),
        lip_weight=uniform(0.045, 0.085),
        hairline=uniform(-0.82, -0.55),
        hair_volume=uniform(0.05, 0.28),
        hair_length=0.0 if bearded or bald or uniform() < 0.4 else uniform(0.3, 1.4),
        parting=uniform(-0.5, 0.5),
        sweep=uniform(-0.1, 0.75),
        receding=uniform(0.05, 0.30) if uniform() < 0.35 else 0.0,
        strand_density=uniform(0.5, 1.3),
        curl=uniform(0.5, 5.0),
        bald=bald,
        beard=uniform(0.25, 0.95) if bearded else 0.0,
        freckles=uniform(0.0, 0.06) if uniform() < 0.3 else 0.0,
        age=uniform(0, 1),
        glasses=bool(uniform() < 0.10),
    )


def draw_moment(*, generator: np.random.Generator) -> Moment:
    """A random moment: pose within about 12 degrees of roll and 25 of yaw, mild expression, one lamp."""
    uniform = generator.uniform
    lamp = np.array([uniform(-0.75, 0.75), uniform(-0.65, 0.15), uniform(0.75, 1.1)])
    warmth = uniform(-0.07, 0.07)
    smile = uniform(-0.25, 1.0)
    return Moment(
        scale=uniform(0.68, 0.82),
        shift=(uniform(-0.07, 0.07), uniform(-0.02, 0.10)),
        roll=float(generator.normal(0, 0.09)),
        yaw=generator.normal(0, 0.10),
        pitch=generator.normal(0, 0.045),
        smile=smile,
        mouth_open=uniform(0.3, 1.0) if smile > 0.3 and uniform() < 0.5 else 0.0,
        eye_open=uniform(0.7, 1.1),
        gaze=(generator.normal(0, 0.22), generator.normal(0, 0.1)),
        brow_raise=generator.normal(0, 0.018),
        light=tuple((lamp / np.linalg.norm(lamp)).tolist()),
        ambient=uniform(0.42, 0.72),
        tint=np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32),
        exposure=uniform(0.92, 1.20),
    )
