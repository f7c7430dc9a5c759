"""Counts the missing files of a source, warns of few and refuses many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)
#: A report names so many of each kind.
NAMED = 10


@dataclass
class MissingFiles:
    """Numbers of listed and of missing files, and the names of the first ten missing ones."""

    what: str  #: "frames" or "videos"
    total: int = 0
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, total: int, missing: Sequence[str]) -> None:
        """Count `total` more files, of which those named `missing` do not exist."""
        self.total += total
        self.count += len(missing)
        self.first += missing[: NAMED - len(self.first)]

    def warn_or_refuse(self, source: object, allowed: float, advice: str) -> None:
        """Warn of missing files; raise UserError above the share `allowed` (0..1), or if all are missing."""
        if not self.count:
            return
        share, named = self.count / self.total, ", ".join(self.first)
        found = f"{source}: {self.count} of {self.total} {self.what} are missing"
        if self.count == self.total:
            raise UserError(f"{source}: none of the {self.total} {self.what} is there ({named}); {advice}")
        if share > allowed:
            raise UserError(
                f"{found}, {100 * share:.0f} % where {100 * allowed:.0f} % are allowed: {named}; {advice} "
                "(in Python, Selection(missing=...) allows more)"
            )
        _LOG.warning("%s and left out: %s", found, named)
