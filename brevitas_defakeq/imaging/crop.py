"""How the faces that a detector was trained on were cropped."""

from dataclasses import dataclass
from typing import Any

from brevitas_defakeq.utils.errors import UserError

CROP_KINDS = ("aligned", "box", "whole")


@dataclass(frozen=True)
class Crop:
    """The part of an image that is kept before resizing. Raises UserError for an unknown kind.

    Attributes:
        kind: "aligned" rotates and scales the face so that its eyes, nose and mouth match the template;
            "box" keeps the face's bounding box as it is; "whole" keeps the whole image and looks for no face.
        margin: share of the box (or of the template's square) added on each side; 0.15 makes it 1.3 times as
            wide.
    """

    kind: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in CROP_KINDS:
            raise UserError(f"crop={self.kind!r} is not known; choose one of {', '.join(CROP_KINDS)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kind": self.kind, "margin": self.margin}
