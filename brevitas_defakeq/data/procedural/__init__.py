"""Procedurally drawn faces, real and forged.

They are stylised drawings for demos and tests. A detector trained on them does not work on photographs.
"""

from brevitas_defakeq.data.procedural.drawn_faces import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    DrawnFace,
    draw,
    draw_many,
)

__all__ = ["FAMILIES", "HELD_OUT_FAMILIES", "DrawnFace", "draw", "draw_many"]
