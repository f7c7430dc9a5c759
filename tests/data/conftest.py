"""The example tree, as DeepfakeBench's preprocessing leaves it, and where the helpers of these tests lie."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "benchmark"))

EXAMPLE = Path(__file__).parents[1] / "data_files" / "dfb_tree"


@pytest.fixture(scope="session")
def dfb_tree(tmp_path_factory):
    """A copy of `data_files/dfb_tree` with its frames: small images, no two alike. Not to be changed."""
    root = tmp_path_factory.mktemp("bench") / "tree"
    shutil.copytree(EXAMPLE, root)
    grey = 0
    for folder, names in json.loads((EXAMPLE / "frames.json").read_text()).items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.new("L", (2, 2), grey).save(root / folder / name)
            grey += 1
    return root


@pytest.fixture
def changed_tree(dfb_tree, tmp_path):
    """A copy of the example tree to spoil."""
    shutil.copytree(dfb_tree, tmp_path / "tree")
    return tmp_path / "tree"
