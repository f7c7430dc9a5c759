"""Pixel modes by value: what a person sees in the file is what the detector gets."""

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin, features

from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.imaging.pixel_modes import to_rgb
from brevitas_defakeq.utils.errors import UserError

RED = (200, 100, 50)
#: A ramp of grey from 0 to 200, in 8 bits.
RAMP = np.linspace(0, 200, 16).astype(np.uint8).reshape(4, 4)


def red(image: Image.Image) -> tuple[int, ...]:
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    return converted.getpixel((0, 0))


def grey(image: Image.Image) -> list[int]:
    """The distinct levels of a grey image, which has three equal channels."""
    pixels = np.asarray(to_rgb(image))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].reshape(-1).tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"])
def test_modes_of_colour(mode):
    """Opaque, and to within a level."""
    assert np.abs(np.subtract(red(Image.new("RGB", (2, 2), RED).convert(mode)), RED)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "I", "F"])
def test_modes_of_grey(mode):
    assert grey(Image.fromarray(RAMP).convert(mode)) == RAMP.reshape(-1).tolist()
    assert grey(Image.fromarray(RAMP).convert("LA").convert("La")) == RAMP.reshape(-1).tolist()


def test_two_levels():
    assert grey(Image.fromarray(RAMP > 100)) == (255 * (RAMP > 100)).reshape(-1).tolist()


def test_palettes_and_transparency():
    """Colours behind transparency are kept, as detectors' own code keeps them."""
    assert red(Image.new("RGBA", (1, 1), (1, 2, 3, 0))) == (1, 2, 3)
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, *RED])
    assert red(palette) == RED
    palette.info["transparency"] = b"\xff\x00"
    assert red(palette) == RED
    assert red(palette.convert("PA")) == RED


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_count_to_65535(mode):
    """Also where all values are small: the depth is known."""
    values = np.array([0, 257, 200, 65535], ">u2" if mode == "I;16B" else "<u2")
    assert grey(Image.frombytes(mode, (4, 1), values.tobytes())) == [0, 1, 1, 255]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([0, 0, 256], [0, 0, 1]),
    ],
)
def test_integers_of_32_bits(tmp_path, values, levels):
    """TIFFs of scientific tools: 0 to 255 is not black."""
    path = tmp_path / "face.tif"
    Image.fromarray(np.array([values], np.int32)).save(path)
    assert grey(load_image(path)) == levels


@pytest.mark.parametrize(
    ("values", "levels"),
    [([0, 0.5, 1], [0, 128, 255]), ([0, 1.5, 254.6], [0, 2, 255]), ([0, 0, 0], [0, 0, 0])],
)
def test_floating_point(tmp_path, values, levels):
    path = tmp_path / "face.tif"
    Image.fromarray(np.array([values], np.float32)).save(path)
    assert grey(load_image(path)) == levels


@pytest.mark.parametrize(
    "values",
    [
        np.int32([0, 65536]),
        np.int32([-1, 5]),
        np.float32([0, 255.5]),
        np.float32([-0.1, 1]),
        np.float32([0, np.nan]),
    ],
)
def test_a_scale_that_cannot_be_known_is_refused(tmp_path, values):
    path = tmp_path / "depth.tif"
    Image.fromarray(values[None]).save(path)
    with pytest.raises(
        UserError, match=r"depth.tif: its .* pixels lie between .*save it with 8 bits"
    ) as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


def test_grey_of_12_bits(tmp_path):
    """Cameras write it; Pillow reads it into 16 bits as it is."""
    path = tmp_path / "face.tif"
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    Image.new("L", (4, 1)).save(path, tiffinfo=directory)
    content = path.read_bytes()
    with Image.open(path) as image:
        offset, tags = image.tag_v2[273][0], image.tag_v2
        assert tags[258] == (8,)
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])  # 0, 4095, 2048, 0
    content = content[:offset] + packed + content[offset + 4 :]
    entry = content.index((258).to_bytes(2, "little") + (3).to_bytes(2, "little"), 0)
    moved = content[: entry + 8] + (12).to_bytes(2, "little") + content[entry + 10 :]
    path.write_bytes(moved)
    with Image.open(path) as image:
        assert image.mode == "I;16"
    assert grey(load_image(path)) == [0, 255, 128, 0]


def test_lab_needs_littlecms(monkeypatch):
    source, target = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.new("RGB", (2, 2), RED), source, target, outputMode="LAB")
    assert np.abs(np.subtract(red(lab), RED)).max() <= 2
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(UserError, match="CIE Lab"):
        to_rgb(lab)


# ------------------------------------------------------------------------------------- orientation

#: EXIF orientation -> how the stored pixels [H, W] become upright, by the EXIF standard's own words.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],  # row 0 is the top, column 0 the right side
    3: lambda stored: stored[::-1, ::-1],  # bottom, right
    4: lambda stored: stored[::-1],  # bottom, left
    5: lambda stored: stored.T,  # row 0 is the left side, column 0 the top
    6: lambda stored: stored[::-1].T,  # right, top
    7: lambda stored: stored[::-1, ::-1].T,  # right, bottom
    8: lambda stored: stored[:, ::-1].T,  # left, bottom
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_images_are_turned_and_mirrored_upright(tmp_path, suffix, orientation):
    stored = (np.arange(6).reshape(2, 3) * 50).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {"quality": 95}
    image.convert("RGB").save(tmp_path / f"phone.{suffix}", exif=exif, **lossless)
    found = np.asarray(load_image(tmp_path / f"phone.{suffix}"))[..., 0].astype(int)
    wanted = UPRIGHT[orientation](stored).astype(int)
    assert found.shape == wanted.shape and np.abs(found - wanted).mean() < 3
