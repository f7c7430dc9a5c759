"""Calibration images from a source: of a benchmark the training split, in whatever form it is given."""

import pytest
from PIL import Image

from brevitas_defakeq.calibration_set import from_source
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError

HOW = Preprocessing((4, 4), "nearest", 0.0, 1.0)


@pytest.fixture
def celeb(tmp_path):
    """Frames of six videos of each label, the first of each for testing."""
    root = tmp_path / "Celeb-DF-v2"
    for folder, name, blue in (("Celeb-real", "id{}_0000", 0), ("Celeb-synthesis", "id{}_id9_0000", 255)):
        for number in range(6):
            frames = root / folder / "frames" / name.format(number)
            frames.mkdir(parents=True)
            for frame in range(2):
                Image.new("RGB", (4, 4), (number, frame, blue)).save(frames / f"{frame:03d}.png")
    lines = "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id9_0000.mp4\n"
    (root / "List_of_testing_videos.txt").write_text(lines)
    return root


def test_the_training_split_of_a_benchmark(celeb):
    images = from_source(celeb, HOW, 16, seed=0, on_corrupt="refuse")
    assert images.images.shape == (16, 3, 4, 4)
    numbers = (images.images[:, 0, 0, 0] * 255).round().int().tolist()
    assert set(numbers) == {1, 2, 3, 4, 5}, "the videos of the test list are not touched"
    assert images.labels.tolist() == (images.images[:, 2, 0, 0] > 0.5).int().tolist()
    assert sum(images.labels.tolist()) == 8


def test_samples_are_taken_as_they_are_given(celeb):
    samples = read_source(celeb, Selection("all"))
    given = [from_source(source, HOW, 12, seed=3, on_corrupt="refuse") for source in (samples, list(samples))]
    assert given[0].files == given[1].files and given[0].hash == given[1].hash
    with pytest.raises(UserError, match="4 usable calibration images"):
        from_source(samples[:4], HOW, 12, seed=0, on_corrupt="refuse")
