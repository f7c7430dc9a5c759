"""Drawn faces by number: ``draw(index, seed=...)`` gives the same bytes on every machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from brevitas_defakeq.data.procedural import forgeries
from brevitas_defakeq.data.procedural.camera import draw_camera, photograph, save_and_load
from brevitas_defakeq.data.procedural.canvas import Canvas
from brevitas_defakeq.data.procedural.people import Moment, Person, draw_moment, draw_person
from brevitas_defakeq.data.procedural.portrait import paint_mask, paint_portrait
from brevitas_defakeq.data.procedural.shapes import cover, ellipse
from brevitas_defakeq.utils.errors import UserError

#: Families that the shipped detector knows; the default of every function here.
FAMILIES = tuple(forgeries.TRAINED)
#: Families kept out of training and calibration.
HELD_OUT_FAMILIES = tuple(forgeries.HELD_OUT)

#: Images of one identity: real and forged alternate, two frames of a real clip and two of a forged one.
FRAMES_OF_IDENTITY = 4


@dataclass(frozen=True)
class DrawnFace:
    """One drawn image: ``image`` uint8 ``[S, S, 3]``, ``label`` 0 real or 1 fake, ``family`` (or "real").

    Images of one ``identity`` share the person and the camera, those of one ``video`` the label as well.
    """

    image: np.ndarray
    label: int
    family: str
    identity: str
    video: str


def draw(index: int, *, seed: int, families: Sequence[str] = FAMILIES, size: int = 128) -> DrawnFace:
    """Draw image number ``index``: real for even numbers, forged for odd ones.

    Args:
        index: 0 or more. Images 4 k to 4 k + 3 show one identity.
        seed: 0 or more; another seed gives other people.
        families: forgery families to alternate, from ``FAMILIES`` and ``HELD_OUT_FAMILIES``. The real
            images of a seed are the same whatever the families.
        size: side in pixels, even, 64 to 256.

    Returns a ``DrawnFace``.

    >>> face = draw(1, seed=7)
    >>> face.image.shape, face.label, face.family
    ((128, 128, 3), 1, 'blend')
    """
    check_arguments(families=families, size=size)
    group = index // FRAMES_OF_IDENTITY
    identity = f"s{seed}-p{group:06d}"
    image, region, moment = photograph_index(index, seed=seed, size=size)
    family = families[group % len(families)] if index % 2 else "real"
    if index % 2:
        image = forge(image, region, family, moment=moment, generator=stream(seed, index, "forgery"))
    image = save_and_load(image, generator=stream(seed, index, "file"))
    video = f"{identity}-{family}"
    return DrawnFace(image=image, label=index % 2, family=family, identity=identity, video=video)


def draw_many(
    count: int, *, seed: int, families: Sequence[str] = FAMILIES, size: int = 128, workers: int = 1
) -> list[DrawnFace]:
    """Draw the images 0 .. ``count`` - 1 in order; ``workers`` processes (1: none) share the work."""
    check_arguments(families=families, size=size)
    one = partial(draw, seed=seed, families=tuple(families), size=size)
    if workers <= 1 or count < 64:
        return [one(index) for index in range(count)]
    with multiprocessing.Pool(workers) as pool:
        return pool.map(one, range(count), chunksize=32)


def photograph_index(index: int, *, seed: int, size: int) -> tuple[np.ndarray, np.ndarray, Moment]:
    """The unforged photograph of ``index``, uint8 ``[S, S, 3]``, its inner face ``[S, S, 1]`` and moment."""
    shared = stream(seed, index // FRAMES_OF_IDENTITY, "identity")
    person, camera = draw_person(generator=shared), draw_camera(generator=shared)
    generator = stream(seed, index, "image")
    moment = draw_moment(generator=generator)
    scene = paint_portrait(person, moment, size=int(size * camera.oversampling), generator=generator)
    region = inner_face(person, moment, size=size, generator=generator)
    return photograph(scene, camera, size=size, generator=generator), region, moment


def inner_face(person: Person, moment: Moment, *, size: int, generator: np.random.Generator) -> np.ndarray:
    """The region of forgeries: a soft ellipse ``[S, S, 1]`` from the brows to below the mouth."""
    canvas = Canvas(size, person=person, moment=moment)
    radii = (generator.uniform(0.48, 0.60), generator.uniform(0.55, 0.68))
    distance = ellipse(canvas.front_x, canvas.front_y, centre=(0, 0.22), radii=radii)
    return cover(distance, 1 / generator.uniform(0.06, 0.22))[..., None]


def forge(
    image: np.ndarray, region: np.ndarray, family: str, *, moment: Moment, generator: np.random.Generator
) -> np.ndarray:
    """Forge a photograph (uint8 ``[S, S, 3]``) in its ``region`` by ``family``: a new one, same shape."""
    values = image.astype(np.float32)
    donor = {}
    if family == "blend":
        donor["donor"] = draw_donor(moment, size=image.shape[0], generator=generator)
    forged = (forgeries.TRAINED | forgeries.HELD_OUT)[family](values, region, generator=generator, **donor)
    return forgeries.to_levels(forged)


def draw_donor(moment: Moment, *, size: int, generator: np.random.Generator) -> np.ndarray:
    """Somebody else in the same pose, through a much cleaner or noisier camera: float32 ``[S, S, 3]``."""
    person, camera = draw_person(generator=generator), draw_camera(generator=generator)
    factor = generator.uniform(0.05, 0.3) if generator.uniform() < 0.5 else generator.uniform(2.5, 4.0)
    camera = replace(camera, read=camera.read * factor, shot=camera.shot * factor)
    scene = paint_mask(person, moment, size=int(size * camera.oversampling), generator=generator)
    return photograph(scene, camera, size=size, generator=generator).astype(np.float32)


def stream(seed: int, number: int, purpose: str) -> np.random.Generator:
    """An independent generator for one purpose of one image (or identity) of a seed."""
    purposes = ("identity", "image", "forgery", "file")
    return np.random.Generator(np.random.PCG64([seed, number, purposes.index(purpose)]))


def check_arguments(*, families: Sequence[str], size: int) -> None:
    """Raise UserError for families that do not exist and sizes that cannot be drawn."""
    known = FAMILIES + HELD_OUT_FAMILIES
    unknown = [family for family in families if family not in known]
    if unknown or not families:
        raise UserError(f"families={tuple(families)}: {unknown or 'empty'}; choose from {', '.join(known)}")
    if size % 2 or not 64 <= size <= 256:
        raise UserError(f"size={size}: drawn faces are 64 to 256 pixels wide and even; use size=128")
