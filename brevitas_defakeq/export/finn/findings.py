"""What the check says of a layer."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

#: "cannot": FINN has nothing to map it to. "costs": it maps, and takes more than it has to. "needs": it maps
#: on some devices only.
FINDING_KINDS = ("cannot", "costs", "needs")


@dataclass(frozen=True)
class Finding:
    """One line of the check.

    Attributes:
        layer: name in the detector; of what is no layer, where it stands.
        operator: of the QONNX graph.
        kind: one of ``FINDING_KINDS``.
        problem: what is the matter.
        change: what to change.
        extra_bits: what zero points cost this layer or activation, in bits a number.
    """

    layer: str
    operator: str
    kind: str
    problem: str
    change: str
    extra_bits: int = 0

    def to_dict(self) -> dict:
        return asdict(self)

    def line(self) -> str:
        return f"{self.layer}: {self.problem}; {self.change}"


def unmappable(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep the detector from being mapped."""
    return [finding for finding in findings if finding.kind == "cannot"]
