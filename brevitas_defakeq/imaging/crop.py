"""How the faces that a detector was trained on were cut out of their pictures."""

from dataclasses import dataclass
from typing import Any

from brevitas_defakeq.utils.errors import UserError

KINDS = ("aligned", "box", "whole")


@dataclass(frozen=True)
class Crop:
    """What is cut out of a picture before it is resized.

    ``kind``: "aligned" turns and scales the face so that its eyes, nose and mouth lie where the template has
    them; "box" cuts the face's box out as it is; "whole" takes the picture, no face is looked for.
    ``margin``: share of the box (or of the template's square) added on each side; 0.15 makes it 1.3 times as
    wide.
    """

    kind: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"crop={self.kind!r} is not known; choose one of {', '.join(KINDS)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kind": self.kind, "margin": self.margin}
