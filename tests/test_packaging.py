"""The package as a whole: its version, its imports, its module names and its files."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

NAME = "brevitas_defakeq"
ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / NAME
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HEAVY = {"torch", "torchvision", "timm", "brevitas", "onnx", "onnxruntime", "scipy", "sklearn"}
STAGES = {"prepare", "haq", "reconstruct", "veft"}
#: Packages that never import the stages that learn.
READERS = {"export", "evaluation", "report"}
#: What makes runs: each may import those after it.
TOP = ("table", "budget_search", "api", "run_report", "quantization_request", "pipeline")
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


# ---------------------------------------------------------------------------------------------- metadata


def test_version_is_the_installed_one():
    import brevitas_defakeq

    assert version("brevitas-defakeq") == PROJECT["version"], "pyproject.toml changed since: install again"
    assert brevitas_defakeq.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="defakeq")
    assert command.value == "brevitas_defakeq.cli:main"
    assert callable(command.load())


def test_every_folder_with_code_is_a_package():
    """A folder without `__init__.py` works from the tree and is missing from the wheel."""
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert not sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists())
    assert (PACKAGE / "py.typed").exists()


# ---------------------------------------------------------------------------------------------- imports


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


def module_name(file: Path) -> str:
    """Dotted name of a file of the package: `brevitas_defakeq.quant.bit_width`."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, at load or inside a function.

    `from a import b` counts as `a.b`, whether b is a module or something inside one.
    """
    name = module_name(file)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, source]).rstrip(".")
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


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
    if importer in READERS:
        return imported not in STAGES - {"prepare"}
    return True


def test_imports_run_one_way():
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = package_of(module_name(file))
        for line, imported in imports(file):
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
        for line, imported in imports(file):
            if imported.split(".")[0] in {"torch", "torchvision", "timm", "brevitas"}:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "the runtime imports torch:\n" + "\n".join(wrong)
    assert not any(ALLOWED[name] - RUNTIME for name in RUNTIME)


def test_the_runtime_distribution_is_made_of_whole_packages():
    configuration = tomllib.loads((ROOT / "packaging/runtime/pyproject.toml").read_text())
    packages = configuration["tool"]["setuptools"]["packages"]
    assert set(packages) == {NAME} | {f"{NAME}.{name}" for name in RUNTIME}


def test_module_names_are_unique():
    names = Counter(file.name for file in PACKAGE.rglob("*.py") if file.name != "__init__.py")
    assert not [name for name, count in names.items() if count > 1]


# ---------------------------------------------------------------------------------------------- files


def project_files() -> Iterator[Path]:
    """Files of the tree that .gitignore does not exclude."""
    lines = [line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")] + ["/.git"]

    def ignored(path: Path) -> bool:
        names = {path.name, "/" + path.relative_to(ROOT).as_posix()}
        return any(fnmatch(name, pattern) for name in names for pattern in patterns)

    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_symlink() or ignored(path):
                continue
            if path.is_dir():
                folders.append(path)
            else:
                yield path


def test_no_file_names_a_place_on_somebodys_machine():
    places = "|".join(["root", "work", "home/[a-z]+", "Users/[A-Za-z]+"])
    absolute = re.compile(rb"(?<![\w.~*})/-])/(?:%s)\b" % places.encode())
    wrong = []
    for file in project_files():
        content = file.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.splitlines(), start=1):
            if found := absolute.search(line):
                wrong.append(f"{file.relative_to(ROOT)}:{number} {found.group().decode()}")
    assert not wrong, "absolute paths:\n" + "\n".join(wrong[:20])
