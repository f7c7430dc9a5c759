"""Files that are either whole or not there: written under a temporary name, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from brevitas_defakeq.errors import UserError


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` at once; a full disk or a missing right is the user's to mend."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another --out"
        ) from None


def check_writable(folder: Path) -> None:
    """Make ``folder`` and write to it once, lest a long run fail at its end for want of a right."""
    write_bytes(folder / "probe", b"")
    (folder / "probe").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping) -> None:
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def understanding(path: Path) -> Iterator[None]:
    """Within the context, a value that is missing or of the wrong kind means that ``path`` is damaged."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); quantize again") from None


def read_json(path: Path) -> dict:
    """A JSON object; a missing or damaged file gets one clear line."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path} does not exist; give a run folder that `defakeq quantize --out` wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); the file is damaged") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; the file is damaged")
    return content
