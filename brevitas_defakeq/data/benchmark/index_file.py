"""Reads the file of a DeepfakeBench index without keeping its paths as strings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brevitas_defakeq.utils.errors import UserError

_SHAPE = "{data set: {label: {split: {video: {label, frames}}}}}"


@dataclass(slots=True)
class IndexEntry:
    """A video of the index: its label's name, and its frames' names by folder."""

    label_name: str
    frames: dict[str, list[str]]


def load_index(path: Path) -> dict[str, Any]:
    """The index with every video as an `IndexEntry`; 1.8 million paths are never kept as strings.

    Raises UserError if the file is missing or is no such index.
    """
    texts: dict[str, str] = {}

    def hook(node: dict[str, Any]) -> dict[str, Any] | IndexEntry:
        frames = node.get("frames")
        if not isinstance(frames, list):
            return node
        if any(isinstance(value, dict | IndexEntry) for value in node.values()):  # videos and a label
            return {name: value for name, value in node.items() if isinstance(value, dict | IndexEntry)}
        return IndexEntry(str(node.get("label") or ""), _by_folder(path, frames, texts))

    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except ValueError as error:  # no JSON, or no text
        raise UserError(f"{path} is not JSON ({error}); make the index again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    for groups in level_of(path, index).values():
        level_of(path, groups)
    if not index:
        raise UserError(f"{path} is empty; it must be as in {_SHAPE}")
    return index


def level_of(path: Path, node: Any) -> dict[str, Any]:
    """A level of the index; empty for a video in the place of a level (as in DFDC's `val`)."""
    if isinstance(node, IndexEntry):
        return {}
    if not isinstance(node, dict):
        raise UserError(f"{path} is no DeepfakeBench index; it must be as in {_SHAPE}")
    return node


def _by_folder(path: Path, frames: list[Any], texts: dict[str, str]) -> dict[str, list[str]]:
    """Frame names by folder, with forward slashes; equal strings are stored once, in `texts`."""
    found: dict[str, list[str]] = {}
    for frame in frames:
        if not isinstance(frame, str):
            raise UserError(f"{path}: {frame!r} is no path of a frame; make the index again")
        folder, _, name = frame.replace("\\", "/").rpartition("/")
        found.setdefault(texts.setdefault(folder, folder), []).append(texts.setdefault(name, name))
    return found
