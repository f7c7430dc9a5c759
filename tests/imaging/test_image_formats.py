"""Suffixes of images: all that the installed Pillow decodes, and nothing else."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features

from brevitas_defakeq.imaging import image_formats
from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.imaging.image_formats import image_suffixes, register_plugins

#: Codec in Pillow -> suffixes that it decodes.
CODECS = {
    "webp": (".webp",),
    "avif": (".avif",),
    "jpg_2000": (".jp2", ".j2k"),
    "jpg": (".jpg", ".jfif", ".mpo"),
}


def saved(path, mode: str) -> bool:
    """Whether Pillow writes a red image of that mode to the path."""
    try:
        Image.new("RGB", (32, 32), (255, 0, 0)).convert(mode).save(path)
    except (OSError, ValueError, KeyError):
        return False
    return True


def test_whatever_pillow_writes_with_a_listed_suffix_is_read(tmp_path):
    """In upper case as in lower case."""
    read = set()
    for suffix in image_suffixes():
        path = tmp_path / f"face{suffix.upper()}"
        if any(saved(path, mode) for mode in ("RGB", "P", "RGBA", "L", "1")):
            image = load_image(path)
            assert image.mode == "RGB" and image.size[0] >= 16, suffix
            read.add(suffix)
    assert read >= {".png", ".gif", ".jfif", ".bmp", ".tiff", ".ppm", ".tga", ".ico", ".apng"}


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_of_this_pillow(codec):
    assert set(CODECS[codec]) <= set(image_suffixes()) or not features.check(codec)


@pytest.mark.parametrize("suffix", [".h5", ".hdf", ".pdf", ".eps", ".mpg", ".mpeg", ".wmf", ".grib", ".txt"])
def test_what_is_no_image_is_not_listed(suffix):
    assert suffix not in image_suffixes()


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for suffix in ("gif", "apng", "webp"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert np.asarray(load_image(path))[4, 4].tolist() == [255, 0, 0], suffix


def test_heic_where_the_plugin_is_installed(monkeypatch):
    assert ".heic" not in image_suffixes() or "pillow_heif" in sys.modules
    before = dict(Image.EXTENSION), dict(Image.OPEN)

    def register_heif_opener():
        Image.OPEN["HEIF"] = Image.OPEN["PNG"]  # as register_open does, without the list of all names
        Image.register_extension("HEIF", ".heic")

    monkeypatch.setitem(
        sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register_heif_opener)
    )
    try:
        for cached in (register_plugins, image_suffixes):
            cached.cache_clear()
        assert ".heic" in image_formats.image_suffixes()
    finally:
        for table, content in zip((Image.EXTENSION, Image.OPEN), before, strict=True):
            table.clear()
            table.update(content)
        for cached in (register_plugins, image_suffixes):
            cached.cache_clear()
