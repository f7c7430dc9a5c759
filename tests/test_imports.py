"""Which package may import which, and the picture that is drawn from it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "brevitas_defakeq"
STAGES = {"haq", "reconstruct", "veft"}
#: Packages that read results, and those below all others.
READERS, DEVICE = {"export", "evaluate", "runtime", "report"}, {"imaging", "utils", "runtime"}
#: Modules that make runs; each may import those behind it, and nothing else imports them.
COMMANDS = ("cli", "table", "budget_search", "api", "quantization_request", "pipeline")
HEAVY = {"torch", "torchvision", "timm", "brevitas"}


@pytest.fixture(scope="module")
def draw_imports():
    """The script ``docs/draw_imports.py`` as a module."""
    spec = importlib.util.spec_from_file_location("draw_imports", ROOT / "docs" / "draw_imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_is_in_the_picture(draw_imports):
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages == set(draw_imports.BOXES) - {draw_imports.COMMANDS}


def test_imports_point_down(draw_imports):
    """Each package imports from lower rows of the picture alone, so there is no cycle; nn may use quant."""
    row = {name: box[1] for name, box in draw_imports.BOXES.items()}
    pairs = draw_imports.package_imports() - {("nn", "quant")}
    assert not [pair for pair in sorted(pairs) if row[pair[0]] <= row[pair[1]]]


def test_the_picture_is_up_to_date(draw_imports):
    assert draw_imports.PICTURE.read_text() == draw_imports.drawing(), "run python docs/draw_imports.py"


def forbidden(importer: str, imported: str) -> bool:
    """Whether a package or module (names directly below ``brevitas_defakeq``) may not import another."""
    importer, imported = ("cli" if name.startswith("cli_") else name for name in (importer, imported))
    if importer == imported:
        return False
    if imported in COMMANDS:
        above = COMMANDS[: COMMANDS.index(imported)]
        return importer not in (*above, "demo", "__main__")
    return (importer in READERS and imported in STAGES) or (importer in DEVICE and imported == "data")


def test_direction(draw_imports):
    """cli -> pipeline -> stages; readers import no stage, and what runs on a device no data source."""
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = Path(file.relative_to(PACKAGE).parts[0]).stem
        names = sorted(draw_imports.imported_names(file)) if importer != "__init__" else []
        wrong += [f"{file.relative_to(ROOT)} imports {name}" for name in names if forbidden(importer, name)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("cli", "pipeline", False),
        ("cli_data", "table", False),
        ("pipeline", "haq", False),
        ("export", "prepare", False),
        ("haq", "pipeline", True),
        ("report", "veft", True),
        ("runtime", "data", True),
        ("data", "cli_options", True),
    ],
)
def test_direction_by_example(importer, imported, wrong):
    assert forbidden(importer, imported) is wrong


def test_the_device_packages_load_without_torch_and_data():
    """Every module of ``imaging``, ``utils`` and ``runtime``, imported by a Python of its own."""
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in sorted(DEVICE)
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


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    """Quicker than ``import numpy``, measured in the same process."""
    code = (
        "import json, sys, time; start = time.perf_counter(); import brevitas_defakeq; "
        "own = time.perf_counter() - start; loaded = sorted(sys.modules); start = time.perf_counter(); "
        "import numpy; print(json.dumps([own, time.perf_counter() - start, loaded]))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    own, numpy, loaded = json.loads(run.stdout)
    assert not {*HEAVY, "onnx", "onnxruntime", "scipy", "sklearn", "numpy"} & set(loaded)
    assert own < numpy
