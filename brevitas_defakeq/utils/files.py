"""Atomic writes (under a temporary name, then renamed) and JSON files."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from brevitas_defakeq.utils.errors import UserError


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path that is renamed to ``path`` when the context ends without an error.

    Works for files and folders. Raises UserError where the disk is full or not writable.
    """
    temporary = path.with_name(f".partial-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --out"
        ) from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def check_writable(folder: Path) -> None:
    """Make ``folder`` and write to it once, so that a long run does not fail at its end."""
    write_bytes(folder / "probe", b"")
    (folder / "probe").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping) -> None:
    """Write ``content`` as indented UTF-8 JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def understanding(path: Path, remedy: str = "quantize again") -> Iterator[None]:
    """Turns errors about missing keys and wrong types in the context into UserError: ``path`` is damaged."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); {remedy}") from None


def read_json(path: Path, wanted: str = "a run folder that `defakeq quantize --out` wrote") -> dict:
    """The JSON object in a file.

    Raises UserError if the file is missing or damaged; ``wanted`` tells the user what to give instead.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; give {wanted}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); the file is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; the file is damaged")
    return content
