"""The file of a DeepfakeBench index, read without ever holding the text of its paths as strings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brevitas_defakeq.utils.errors import UserError

_FORM = "{data set: {label: {split: {video: {label, frames}}}}}"


@dataclass(slots=True)
class Entry:
    """A video of the index: its label's name, and its frames' names by folder."""

    kind: str
    frames: dict[str, list[str]]


def load_index(path: Path) -> dict[str, Any]:
    """The index with every video as an `Entry`: the text of 1.8 million paths is never held as strings."""
    texts: dict[str, str] = {}

    def hook(node: dict[str, Any]) -> dict[str, Any] | Entry:
        frames = node.get("frames")
        if not isinstance(frames, list):
            return node
        if any(isinstance(value, dict | Entry) for value in node.values()):  # videos beside a stray label
            return {name: value for name, value in node.items() if isinstance(value, dict | Entry)}
        return Entry(str(node.get("label") or ""), _by_folder(path, frames, texts))

    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except ValueError as error:  # no JSON, or no text
        raise UserError(f"{path} is not JSON ({error}); make the index again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    for groups in level_of(path, index).values():
        level_of(path, groups)
    if not index:
        raise UserError(f"{path} is empty; it must be as in {_FORM}")
    return index


def level_of(path: Path, node: Any) -> dict[str, Any]:
    """A level of the index; a video where a level should be (as in DFDC's `val`) holds nothing."""
    if isinstance(node, Entry):
        return {}
    if not isinstance(node, dict):
        raise UserError(f"{path} is no DeepfakeBench index; it must be as in {_FORM}")
    return node


def _by_folder(path: Path, frames: list[Any], texts: dict[str, str]) -> dict[str, list[str]]:
    """Frames by their folder, with forward slashes; equal strings are kept once, in `texts`."""
    found: dict[str, list[str]] = {}
    for frame in frames:
        if not isinstance(frame, str):
            raise UserError(f"{path}: {frame!r} is no path of a frame; make the index again")
        folder, _, name = frame.replace("\\", "/").rpartition("/")
        found.setdefault(texts.setdefault(folder, folder), []).append(texts.setdefault(name, name))
    return found
