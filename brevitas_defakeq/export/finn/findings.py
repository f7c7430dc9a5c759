"""Findings of the FINN mapping check."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

#: "cannot": FINN has no hardware for it. "costs": it maps but takes more hardware than necessary. "needs": it
#: maps on some devices only.
FindingKind = Literal["cannot", "costs", "needs"]


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    Attributes:
        layer: name in the detector; for an operator outside any layer, its location ("after body.0").
        operator: ONNX operator of the QONNX graph.
        kind: ``FindingKind``.
        problem: what prevents or enlarges the mapping.
        change: what to change.
        extra_bits: bits per value that zero points add to this layer or activation.
    """

    layer: str
    operator: str
    kind: FindingKind
    problem: str
    change: str
    extra_bits: int = 0

    def to_dict(self) -> dict:
        return asdict(self)

    def line(self) -> str:
        """The finding on one line: layer, problem, change."""
        return f"{self.layer}: {self.problem}; {self.change}"


def unmappable(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that prevent the detector from being mapped."""
    return [finding for finding in findings if finding.kind == "cannot"]
