"""Crops on disk: a folder for each video, named after the video and the crop settings.

``CACHE/<crop and finder>/<frames>/<data set>/<name>-<hash>/`` holds the crops as PNGs and ``index.json``.
Folders are written atomically, so an interrupted run can continue and processes may share a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from brevitas_defakeq.data.face_crops import CropSettings, UnusableFile
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json

#: Raised when the index or the cropping of a found face changes: older crops are made again.
CROP_INDEX_VERSION = 1
INDEX_NAME = "index.json"
_PARTIAL = ".partial-"
#: Unfinished folders older than this were left behind by a process that died.
_STALE_SECONDS = 24 * 3600


def cache_root(cache: Path, settings: CropSettings, finder: str | None) -> Path:
    """The folder of crops made with these settings and this finder."""
    crop = settings.crop
    size = (str(settings.size),) if crop.kind == "aligned" else ()
    margin = () if crop.kind == "whole" else (f"{crop.margin:g}", *size, finder or "")
    every = ("all",) if settings.faces == "all" and crop.kind != "whole" else ()
    return cache / "-".join((crop.kind, *margin)) / "-".join((settings.choose, str(settings.frames), *every))


def crop_folder(root: Path, path: Path, name: str, dataset: str) -> Path:
    """The folder of one file's crops; a changed or moved file gets another one.

    Raises UnusableFile if it cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror or error}") from None
    identity = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]
    return root / _plain(dataset) / f"{_plain(name)}-{digest}"


def read_crop_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder; None where it or a crop is missing or damaged.

    Its keys: ``source`` (the file), ``cutting``, ``finder``, ``frames`` (searched), ``without_face`` (of
    these), ``crops`` (each with ``file``, ``frame``, ``box``, ``score``, ``points``).
    """
    try:
        index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
        if index["format_version"] != CROP_INDEX_VERSION:
            return None
        present = set(os.listdir(folder))
        return index if {crop["file"] for crop in index["crops"]} <= present else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_crop_index(folder: Path, content: dict[str, Any]) -> None:
    """Write the index; do so after all crops."""
    write_json(folder / INDEX_NAME, {"format_version": CROP_INDEX_VERSION, **content})


@contextlib.contextmanager
def written_once(folder: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to ``folder`` at the end, unless another process was faster.

    Raises UserError where nothing can be written.
    """
    temporary = folder.with_name(f"{_PARTIAL}{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _rename(temporary, folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}; free space or choose another cache folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_stale(root: Path) -> None:
    """Remove folders that processes left unfinished more than a day ago."""
    for folder in root.glob(f"*/{_PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    """Rename the finished folder; an intact one of that name is kept, a damaged one replaced."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if read_crop_index(folder) is not None:
            return
        shutil.rmtree(folder)
        os.rename(temporary, folder)


def _plain(name: str) -> str:
    """A folder name that is valid on any system and not too long."""
    return re.sub(r"[^\w.-]+", "_", name)[-60:].lstrip(".") or "_"
