"""Properties of image files, from their headers alone, and whether they predict the label."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brevitas_defakeq.data.check.association import association
from brevitas_defakeq.data.folders import CLASS_FOLDERS
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.imaging.image_files import Header, read_header
from brevitas_defakeq.utils.errors import UserError

#: At most so many headers are read, half of each label.
MAX_HEADERS = 2000
#: Sizes that at least this share of the images has are compared as they are, rarer ones by their area.
_COMMON = 0.01


def headers_of(listing: Listing) -> tuple[Listing, list[Header], list[str]]:
    """An even sample of the labelled images: those that can be read, their headers, errors of the others."""
    sample = listing.take(
        np.concatenate([_spread(np.flatnonzero(listing.labels == label)) for label in (0, 1)])
    )
    kept, headers, broken = [], [], []
    for row, path in enumerate(sample.paths()):
        try:
            headers.append(read_header(path))
            kept.append(row)
        except UserError as error:
            broken.append(str(error))
    return sample.take(np.array(kept, dtype=np.int64)), headers, broken


def associations(sample: Listing, headers: Sequence[Header], *, folders: bool) -> list[dict[str, Any]]:
    """How well format, size, data set, JPEG quality (among JPEGs) and source folder predict the label."""
    labels, videos = sample.labels, sample.videos()
    found = [
        association("file format", [header.format for header in headers], labels, videos),
        association("size in pixels", _sizes(headers), labels, videos),
        association("data set", [sample.strings[code] for code in sample.codes("dataset")], labels, videos),
    ]
    jpeg = np.array([bool(header.tables) for header in headers])
    tables = [_quality(header) for header in headers if header.tables]
    found.append(association("JPEG quality", tables, labels[jpeg], videos[jpeg]) if tables else None)
    if folders:
        found.append(association("source folder", source_folders(sample), labels, videos))
    return [entry for entry in found if entry]


def source_folders(sample: Listing) -> list[str]:
    """The first folder in which the images' paths differ; folders named after a label are ignored."""
    paths = [
        tuple(part for part in Path(os.path.abspath(path)).parent.parts if part.lower() not in CLASS_FOLDERS)
        for path in sample.paths()
    ]
    common = len(os.path.commonprefix(paths))
    return ["/".join(parts[common : common + 1]) for parts in paths]


def _spread(rows: np.ndarray) -> np.ndarray:
    count = min(len(rows), MAX_HEADERS // 2)
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)] if count else rows


def _sizes(headers: Sequence[Header]) -> list[str]:
    counts = Counter(header.size for header in headers)
    return [
        f"{width} x {height}"
        if counts[width, height] >= _COMMON * len(headers)
        else f"about 2^{round(math.log2(max(1, width * height)))} pixels"
        for width, height in (header.size for header in headers)
    ]


def _quality(header: Header) -> str:
    """A JPEG's quantization tables by their means, which fall as the quality rises."""
    return "tables of mean " + ", ".join(f"{np.mean(table):.2f}" for table in header.tables)
