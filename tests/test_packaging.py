"""The package as a whole: its version and its files."""

import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import entry_points, version
from pathlib import Path

NAME = "brevitas_defakeq"
ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / NAME
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
