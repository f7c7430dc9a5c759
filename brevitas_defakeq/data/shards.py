"""WebDataset shards: tar files with each image beside its label, `KEY.png` and `KEY.cls` or `KEY.json`."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.imaging.image_formats import image_suffixes
from brevitas_defakeq.imaging.sample import LABELS
from brevitas_defakeq.imaging.stored_files import members
from brevitas_defakeq.utils.errors import UserError

_LABEL_FILES = ("cls", "json")


@dataclass
class _Example:
    """The files of one key: its image's name, and the contents of its label files by suffix."""

    key: str
    image: str = ""
    label_files: dict[str, bytes] = field(default_factory=dict)


def shards_of(folder: Path) -> list[Path]:
    """The tar files of a folder that has no sub-folders and no images."""
    visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    others = any(entry.is_dir() or entry.name.lower().endswith(image_suffixes()) for entry in visible)
    return [] if others else sorted(entry for entry in visible if entry.suffix.lower() == ".tar")


def read_shards(shards: list[Path], dataset: str, left_out: LeftOut) -> Listing:
    """Every image of the shards, in order; only headers and labels are read.

    `KEY.cls` is 0 or 1; `KEY.json` is an object with "label" and optionally "video", "dataset" and
    "manipulation". Without them the label is None, the video the key's folder (the key itself without a
    folder), and the data set `dataset`. Files of other kinds are noted in `left_out`. Raises UserError for a
    broken shard or label.
    """
    rows = ListingBuilder()
    for shard in shards:
        for example in filter(lambda example: example.image, _examples(shard, left_out)):
            known = _described(shard, example)
            label = _label(shard, example, known)
            folder, name = posixpath.split(example.image)
            rows.add(
                os.path.join(str(shard), folder) if folder else str(shard), [name], label=label,
                video=str(known.get("video") or folder or f"{shard.stem}/{example.key}"),
                dataset=str(known.get("dataset") or dataset),
                manipulation=str(known.get("manipulation") or ""),
            )  # fmt: skip
    return rows.listing()


def _examples(shard: Path, left_out: LeftOut) -> Iterator[_Example]:
    """Groups consecutive files of one key: the path up to the first dot of the file name."""
    with open(shard, "rb") as file:
        for key, group in groupby(members(str(shard)), lambda member: _split_name(member[0])[0]):
            example = _Example(key)
            for name, offset, size in group:
                kind = _split_name(name)[1].lower()
                if f".{kind}" in image_suffixes():
                    example.image = name
                elif kind in _LABEL_FILES:
                    file.seek(offset)
                    example.label_files[kind] = file.read(size)
                else:
                    left_out.add(name)
            yield example


def _split_name(name: str) -> tuple[str, str]:
    folder, base = posixpath.split(name)
    stem, _, kind = base.partition(".")
    return posixpath.join(folder, stem), kind


def _described(shard: Path, example: _Example) -> dict[str, Any]:
    try:
        known = json.loads(example.label_files.get("json", b"{}"))
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise UserError(
            f"{shard}: {example.key}.json is no JSON object; write it as in " + '{"label": 1, "video": "a"}'
        )
    return known


def _label(shard: Path, example: _Example, known: dict[str, Any]) -> int | None:
    """The label that `.cls` and `.json` give; None if neither does."""
    values = [example.label_files["cls"].decode("utf-8", "replace")] if "cls" in example.label_files else []
    values += [str(known["label"])] if "label" in known else []
    labels = {LABELS.get(text.strip().lower()) for text in values}
    if None in labels:
        raise UserError(
            f"{shard}: the label of {example.key} is {' and '.join(values)}; write 0, 1, real or fake"
        )
    if len(labels) > 1:
        raise UserError(
            f"{shard}: {example.key}.cls and {example.key}.json disagree ({' and '.join(values)}); fix one"
        )
    return labels.pop() if labels else None
