"""One word for one thing: retired words stay out, names are unique, so that a search finds what is meant."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "brevitas_defakeq"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "hw").rglob("*.py")])
TEXTS = sorted(
    path for folder in ("brevitas_defakeq", "hw", "docs", "examples", "benchmarks", "packaging", "tests")
    for suffix in ("*.py", "*.md") for path in (ROOT / folder).rglob(suffix)
    if path != Path(__file__) and "results" not in path.parts
) + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]  # fmt: skip

#: Prose and code: image, fix, package.
WORDS = re.compile(r"\b(pictures?|mend(s|ed|ing)?|rooms?)\b", re.IGNORECASE)
#: Names of modules, classes, functions, arguments and variables, by their words.
NAMES = {
    "figures", "turns", "feed", "walk", "moves", "ends", "places", "judge", "subject", "forms", "seen",
    "quick", "listen",
}  # fmt: skip
#: Entries whose names are a contract: they all hold what the registry looks for.
SHARED = {"ENTRY"}


def definitions(path: Path):
    """Public classes and constants at the top of a module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (
                target.id for target in targets if isinstance(target, ast.Name) and target.id[0].isupper()
            )


def names(path: Path):
    """Every name that a module gives to something."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_retired_words():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in TEXTS for line in path.read_text().splitlines() if WORDS.search(line)
    ]  # fmt: skip
    assert not found, "\n".join(found[:20])


def test_retired_names():
    found = []
    for path in SOURCES:
        for name in set(names(path)):
            parts = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower().split("_")
            if NAMES & set(parts):
                found.append(f"{path.relative_to(ROOT)}: {name}")
    assert not found, "\n".join(found[:40])


def test_every_module_of_the_package_has_a_name_of_its_own():
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            found[path.name].append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_two_classes_or_constants_share_a_name():
    found = defaultdict(set)
    for path in SOURCES:
        for name in definitions(path):
            found[name].add(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert not {name: paths for name, paths in shared.items() if name[0] != "_" and name not in SHARED}
