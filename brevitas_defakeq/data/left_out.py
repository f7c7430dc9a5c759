"""Files of a source that are neither read nor mentioned elsewhere, counted by suffix."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePath

_LOG = logging.getLogger(__name__)
#: At most so many suffixes and folders are named.
_NAMED = 8
#: Read once pillow-heif is installed.
_HEIF = (".heic", ".heif")


@dataclass
class LeftOut:
    """Files by suffix in lower case ("" without one), and folders beside those named after a label."""

    files: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    def add(self, name: str) -> None:
        """Count one file."""
        self.files[PurePath(name).suffix.lower()] += 1

    def __str__(self) -> str:
        """As in "10 .heic, 2 .txt, folder other/ (.heic needs pip install pillow-heif)"."""
        named = [f"{count} {suffix or 'without suffix'}" for suffix, count in self.files.most_common(_NAMED)]
        more = sum(self.files.values()) - sum(count for _, count in self.files.most_common(_NAMED))
        named += [f"{more} others"] * bool(more)
        named += [f"folder {folder}/" for folder in self.folders[:_NAMED]]
        named += [f"{len(self.folders) - _NAMED} more folders"] * (len(self.folders) > _NAMED)
        heif = next((suffix for suffix in _HEIF if suffix in self.files), None)
        return ", ".join(named) + (f" ({heif} needs pip install pillow-heif)" if heif else "")

    def warn(self, source: object) -> None:
        """One line, if anything was left out."""
        if self:
            _LOG.warning("%s: left out: %s", source, self)
