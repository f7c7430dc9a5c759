"""The drawing of the architecture shows the imports, which point one way."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "brevitas_defakeq"
#: What a device gets.
DEVICE = ("imaging", "runtime", "utils")
HEAVY = {"torch", "torchvision", "timm", "brevitas"}


@pytest.fixture(scope="module")
def draw_imports():
    """The script ``docs/draw_imports.py`` as a module."""
    spec = importlib.util.spec_from_file_location("draw_imports", ROOT / "docs" / "draw_imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_is_in_the_drawing(draw_imports):
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages == set(draw_imports.BOXES) - {draw_imports.COMMANDS}


def test_imports_point_down(draw_imports):
    """Each package imports from lower rows of the drawing alone, so there is no cycle."""
    row = {name: box[1] for name, box in draw_imports.BOXES.items()}
    assert not [pair for pair in sorted(draw_imports.package_imports()) if row[pair[0]] <= row[pair[1]]]


def test_the_drawing_is_up_to_date(draw_imports):
    assert draw_imports.DRAWING.read_text() == draw_imports.drawing(), "run python docs/draw_imports.py"


def test_the_device_packages_load_without_torch_and_data():
    """Every module of ``imaging``, ``utils`` and ``runtime``, imported by a Python of its own."""
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in DEVICE
        for file in sorted((PACKAGE / package).glob("*.py"))
    ]
    code = (
        "import importlib, json, sys; [importlib.import_module(name) for name in json.loads(sys.argv[1])]; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-c", code, json.dumps(names)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert not loaded & HEAVY
    assert not [name for name in loaded if name.startswith("brevitas_defakeq.data")]
