"""Procedurally drawn faces, real and forged: the data that the package can make by itself.

They are stylised drawings for demos and tests. A detector that knows them says nothing about photographs.
"""

from brevitas_defakeq.data.procedural.drawn_faces import (
    FAMILIES,
    HELD_OUT_FAMILIES,
    DrawnFace,
    draw,
    draw_many,
)

__all__ = ["FAMILIES", "HELD_OUT_FAMILIES", "DrawnFace", "draw", "draw_many"]
