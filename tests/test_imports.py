"""Imports point one way, and the drawing of the architecture shows them."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

NAME = "brevitas_defakeq"
ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / NAME


def _draw_imports() -> ModuleType:
    """The script ``docs/draw_imports.py`` as a module."""
    spec = importlib.util.spec_from_file_location("draw_imports", ROOT / "docs" / "draw_imports.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAW = _draw_imports()
#: Package -> its row in the drawing; it imports from lower rows alone, so there is no cycle.
ROWS = {name: row for name, (_, row, _) in DRAW.BOXES.items()}
HEAVY = {"torch", "torchvision", "timm", "brevitas", "onnx", "onnxruntime", "scipy", "sklearn"}
STAGES = {"prepare", "haq", "reconstruct", "veft"}
#: Packages that never import the stages that learn.
READERS = {"export", "evaluation", "saliency", "report"}
#: What makes runs: each may import those after it.
TOP = (
    "table", "size_search", "budget_search", "search_runs", "api", "run_report", "quantization_request",
    "pipeline",
)  # fmt: skip
#: The runtime distribution: whole packages, without torch.
RUNTIME = {"runtime", "imaging", "utils"}
#: Package -> all that it may import.
ALLOWED = {
    "utils": set(),
    "imaging": {"utils"},
    "runtime": {"imaging", "utils"},
    "data": {"runtime", "imaging", "utils", "progress", "config"},
    "detectors": {"nn", "imaging", "utils"},
    "quant": {"nn", "utils"},
    "nn": {"utils"},
}


def package_of(module: str) -> str:
    """First name below the top: "quant" of `brevitas_defakeq.quant.bit_width`; "" is the top package itself.

    A public name taken from the package (`from brevitas_defakeq import quantize`) is the package's own.
    """
    parts = module.split(".")
    first = parts[1] if len(parts) > 1 else ""
    return first if (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file() else ""


def may_import(importer: str, imported: str) -> bool:
    """The direction: cli -> pipeline -> stages -> {quant, nn}; readers import no stage but prepare."""
    importer, imported = (
        name.partition("_")[0] if name.startswith("cli") else name for name in (importer, imported)
    )
    if importer in {imported, "", "__main__"}:
        return True
    if importer in ALLOWED:
        return imported in ALLOWED[importer]
    if imported == "cli":
        return False
    if imported in {"", *TOP}:  # the package itself offers the API, so it counts as the top
        return importer in {"cli", "demo"} or (importer in TOP and imported in TOP[TOP.index(importer) + 1 :])
    if importer in READERS and imported in STAGES - {"prepare"}:
        return False
    return importer not in ROWS or imported not in ROWS or ROWS[imported] < ROWS[importer]


def test_imports_run_one_way():
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = package_of(
            ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        for line, imported in DRAW.imports(file):
            if imported.split(".")[0] != NAME or imported == f"{NAME}.__version__":
                continue
            if not may_import(importer, package_of(imported)):
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "imports against the direction:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("cli", "pipeline", True),
        ("pipeline", "haq", True),
        ("haq", "quant", True),
        ("quant", "nn", True),
        ("quant", "utils", True),
        ("data", "runtime", True),
        ("runtime", "imaging", True),
        ("export", "prepare", True),
        ("evaluation", "artifact", True),
        ("prepare", "haq", False),
        ("haq", "pipeline", False),
        ("quant", "config", False),
        ("nn", "prepare", False),
        ("nn", "quant", False),
        ("report", "veft", False),
        ("export", "haq", False),
        ("data", "cli", False),
        ("reconstruct", "", False),
        ("utils", "config", False),
        ("runtime", "data", False),
        ("imaging", "data", False),
        ("detectors", "data", False),
    ],
)
def test_direction_by_example(importer, imported, allowed):
    assert may_import(importer, imported) is allowed


def test_the_runtime_distribution_needs_no_torch():
    """None of its packages imports torch, not even inside a function, nor any package that does."""
    wrong = []
    for file in (file for name in sorted(RUNTIME) for file in sorted((PACKAGE / name).rglob("*.py"))):
        for line, imported in DRAW.imports(file):
            if imported.split(".")[0] in {"torch", "torchvision", "timm", "brevitas"}:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "the runtime imports torch:\n" + "\n".join(wrong)
    assert not any(ALLOWED[name] - RUNTIME for name in RUNTIME)


def test_the_runtime_distribution_is_made_of_whole_packages():
    configuration = tomllib.loads((ROOT / "packaging/runtime/pyproject.toml").read_text())
    packages = configuration["tool"]["setuptools"]["packages"]
    assert set(packages) == {NAME} | {f"{NAME}.{name}" for name in RUNTIME}


def test_import_is_quick_and_leaves_torch_alone():
    """Quicker than ``import numpy``, measured in the same process."""
    code = (
        "import json, sys, time; start = time.perf_counter(); import brevitas_defakeq; "
        "own = time.perf_counter() - start; modules = sorted(sys.modules); start = time.perf_counter(); "
        "import numpy; print(json.dumps([own, time.perf_counter() - start, modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    own, numpy, modules = json.loads(run.stdout)
    assert not HEAVY.intersection(modules)
    assert own < numpy


def test_every_package_is_in_the_drawing():
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages == set(DRAW.BOXES) - {DRAW.COMMANDS}


def test_the_drawing_is_up_to_date():
    assert DRAW.DRAWING.read_text() == DRAW.drawing(), "run python docs/draw_imports.py"
