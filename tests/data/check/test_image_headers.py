"""Headers are read, pixels are not; what they say is put against the label."""

import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.data.check import image_headers
from brevitas_defakeq.data.check.image_headers import associations, headers_of, source_folders
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.imaging.image_files import read_header
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.utils.errors import UserError


def save(path, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.stem), 0, 0)).save(path, **options)


def associations_of(listing, **options):
    sample, read, _ = headers_of(listing)
    found = associations(sample, read, folders=options.get("folders", False))
    return {entry["attribute"]: entry for entry in found}


def test_header(tmp_path):
    save(tmp_path / "a.jpg", (30, 20), quality=90)
    save(tmp_path / "b.png", (5, 6))
    jpeg, png = read_header(tmp_path / "a.jpg"), read_header(tmp_path / "b.png")
    assert (jpeg.format, jpeg.size, len(jpeg.tables), len(jpeg.tables[0])) == ("JPEG", (30, 20), 2, 64)
    assert (png.format, png.size, png.tables) == ("PNG", (5, 6), ())
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "d.png")
    (tmp_path / "d.png").write_bytes((tmp_path / "d.png").read_bytes()[:2000])
    assert read_header(tmp_path / "d.png").size == (64, 64), "most pixels are cut off, which is not noticed"
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="c.png cannot be read as an image"):
        read_header(tmp_path / "c.png")


@pytest.mark.parametrize(
    ("real", "fake", "attribute", "values"),
    [
        ({"suffix": "jpg"}, {"suffix": "png"}, "file format", {"JPEG", "PNG"}),
        ({"size": (8, 8)}, {"size": (9, 8)}, "size in pixels", {"8 x 8", "9 x 8"}),
        ({"suffix": "jpg", "quality": 95}, {"suffix": "jpg", "quality": 60}, "JPEG quality", None),
    ],
)
def test_what_tells_the_label(tmp_path, real, fake, attribute, values):
    for label, options in (("real", real), ("fake", fake)):
        options = dict(options)
        suffix = options.pop("suffix", "png")
        for number in range(30):
            save(tmp_path / label / f"{number}.{suffix}", **options)
    found = associations_of(read_source(tmp_path))
    assert [name for name, entry in found.items() if entry["notable"]] == [attribute]
    assert found[attribute]["accuracy"] == 1.0
    assert values is None or found[attribute]["value"] in values


def test_sizes_that_never_come_twice_go_by_their_area(tmp_path):
    for number in range(200):
        save(tmp_path / "real" / f"{number}.png", (10 + number % 3, 20 + number))
        save(tmp_path / "fake" / f"{number}.png", (60 + number, 60 + number % 7))
    entry = associations_of(read_source(tmp_path))["size in pixels"]
    assert entry["accuracy"] > 0.8 and entry["value"].startswith("about 2^")


def test_jpeg_tables_are_put_against_the_label_among_jpegs_only(tmp_path):
    """Half of each label is PNG: format tells nothing, and neither does having no tables."""
    for label in ("real", "fake"):
        for number in range(20):
            save(tmp_path / label / f"a{number}.jpg", quality=90)
            save(tmp_path / label / f"b{number}.png")
    found = associations_of(read_source(tmp_path))
    assert found["JPEG quality"]["accuracy"] == 0.5
    assert found["JPEG quality"]["share_of_real"] == found["JPEG quality"]["share_of_fake"] == 1.0


def test_source_folders_without_those_of_the_labels(tmp_path):
    paths = ["real/ffhq/a/0.png", "fake/stylegan/b/0.png", "fake/stylegan/c/1.png", "1_fake/ffhq/0.png"]
    listing = Listing.of(Sample(tmp_path / path, 0, "v", "d") for path in paths)
    assert source_folders(listing) == ["ffhq", "stylegan", "stylegan", "ffhq"]
    assert source_folders(listing[:1]) == [""]


def test_no_more_than_2000_and_half_of_each_label(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.setattr(image_headers, "MAX_HEADERS", 10)
    listing = Listing.of(
        Sample(tmp_path / "a.png", label, str(number), "d")
        for label, count in ((0, 100), (1, 3), (None, 50))
        for number in range(count)
    )
    sample, read, broken = headers_of(listing)
    assert np.bincount(sample.labels).tolist() == [5, 3] and len(read) == 8 and not broken
    assert [row.video for row in sample[:5]] == ["0", "24", "49", "74", "99"]


def test_unreadable_files_are_left_out_and_told(tmp_path):
    for label in ("real", "fake"):
        for number in range(3):
            save(tmp_path / label / f"{number}.png")
    (tmp_path / "real/1.png").write_bytes(b"no image")
    sample, read, broken = headers_of(read_source(tmp_path))
    assert len(sample) == len(read) == 5
    assert len(broken) == 1 and "real/1.png cannot be read" in broken[0]
