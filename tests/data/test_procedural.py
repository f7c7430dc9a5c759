"""Drawn faces: the same bytes whenever asked, half real, and forged only where a forgery belongs."""

import time

import numpy as np
import pytest

from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, DrawnFace, draw, draw_many
from brevitas_defakeq.data.procedural.drawn_faces import forge, photograph_index, stream
from brevitas_defakeq.utils.errors import UserError

EVERY_FAMILY = FAMILIES + HELD_OUT_FAMILIES


def test_same_seed_and_index_give_the_same_bytes_in_any_order():
    forwards = [draw(index, seed=3).image for index in (0, 1, 2, 3)]
    backwards = [draw(index, seed=3).image for index in (3, 2, 1, 0)][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        assert np.array_equal(first, second)


def test_many_equals_one_by_one_with_any_number_of_workers():
    alone, shared = draw_many(66, seed=4), draw_many(66, seed=4, workers=2)
    for index in (0, 1, 33, 65):
        assert np.array_equal(alone[index].image, draw(index, seed=4).image)
    for first, second in zip(alone, shared, strict=True):
        assert np.array_equal(first.image, second.image) and first.video == second.video


def test_another_seed_gives_another_face():
    assert not np.array_equal(draw(0, seed=1).image, draw(0, seed=2).image)


def test_half_is_real_and_families_take_turns():
    faces = draw_many(40, seed=5)
    assert [face.label for face in faces] == [0, 1] * 20
    assert {face.family for face in faces if face.label} == set(FAMILIES)
    assert {face.family for face in faces if not face.label} == {"real"}


def test_only_the_families_asked_for_are_drawn_and_real_images_do_not_depend_on_them():
    faces = draw_many(16, seed=6, families=HELD_OUT_FAMILIES)
    assert {face.family for face in faces} == {"real", *HELD_OUT_FAMILIES}
    assert np.array_equal(faces[2].image, draw(2, seed=6).image)


def test_held_out_families_are_not_trained_on():
    assert len(FAMILIES) >= 5 and len(HELD_OUT_FAMILIES) >= 2
    assert not set(FAMILIES) & set(HELD_OUT_FAMILIES)


@pytest.mark.parametrize("size", [64, 128, 192])
def test_size_dtype_and_contrast(size):
    face = draw(1, seed=7, size=size)
    assert isinstance(face, DrawnFace)
    assert face.image.shape == (size, size, 3) and face.image.dtype == np.uint8
    assert face.image.std() > 10


def test_a_video_has_one_label_and_one_identity():
    faces = draw_many(16, seed=8)
    for video in {face.video for face in faces}:
        frames = [face for face in faces if face.video == video]
        assert len(frames) == 2
        assert len({face.label for face in frames}) == len({face.identity for face in frames}) == 1


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_forgery_changes_the_inner_face(family):
    image, region, moment = photograph_index(1, seed=9, size=128)
    forged = forge(image, region, family, moment=moment, generator=stream(9, 1, "forgery"))
    change = np.abs(forged.astype(int) - image).max(-1)
    inside, outside = region[..., 0] > 0.5, region[..., 0] == 0
    assert forged.dtype == np.uint8 and change[inside].mean() > 0.2
    if family != "upsample":  # may leave its traces everywhere
        assert change[outside].max() <= 1


def test_unknown_family_and_odd_size_are_refused_with_the_correction():
    with pytest.raises(UserError, match="choose from blend"):
        draw(1, seed=0, families=("photoshop",))
    with pytest.raises(UserError, match="size=128"):
        draw(1, seed=0, size=33)


def test_drawing_is_quick(pace):
    draw(1, seed=10)
    started = time.process_time()
    draw_many(40, seed=10)
    assert time.process_time() - started < 75 * pace, "about 15 are expected"
