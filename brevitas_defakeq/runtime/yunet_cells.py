"""What YuNet's outputs mean: faces from its cells, each face once.

The network has a cell for every 8, 16 and 32 pixels of its input in both directions. Each says how likely a
face lies there, and where its box and points are, counted from the cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Pixels of the network's square input, and of its cells.
SIDE = 640
STRIDES = (8, 16, 32)
#: Boxes that overlap a better one by more are the same face.
SAME_FACE_IOU = 0.3


def decoded(outputs: dict[str, np.ndarray], least: float) -> np.ndarray:
    """The network's outputs as faces [N, 15]: box (left, top, right, bottom), five points, score.

    Sorted by score; scores are at least ``least``, and of boxes that overlap only the best is kept.
    """
    rows = np.concatenate([_of_stride(outputs, stride, least) for stride in STRIDES])
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    return rows[list(distinct(rows[:, :4]))]


def _of_stride(outputs: dict[str, np.ndarray], stride: int, least: float) -> np.ndarray:
    """The faces [N, 15] of one grid of cells."""
    kinds = (outputs[f"{kind}_{stride}"] for kind in ("cls", "obj", "bbox", "kps"))
    likely, certain, boxes, points = (values.astype(np.float64) for values in kinds)
    scores = np.sqrt(likely.clip(0, 1) * certain.clip(0, 1))[:, 0]
    kept = np.flatnonzero(scores >= least)
    row, column = np.divmod(kept, SIDE // stride)
    cells = np.stack([column, row], axis=1)  # [N, 2] as x, y
    centres = (cells + boxes[kept, :2]) * stride
    halves = np.exp(boxes[kept, 2:]) * stride / 2
    places = (points[kept].reshape(-1, 5, 2) + cells[:, None]) * stride
    columns = [centres - halves, centres + halves, places.reshape(-1, 10), scores[kept, None]]
    return np.concatenate(columns, axis=1)


def distinct(boxes: np.ndarray) -> Iterator[int]:
    """The positions of boxes [N, 4] that overlap no earlier kept one by more than `SAME_FACE_IOU`."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.arange(len(boxes))
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        yield int(best)
        corners = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (corners[1] - corners[0]).clip(0).prod(axis=1)
        overlap = shared / (areas[best] + areas[rest] - shared)
        waiting = rest[overlap <= SAME_FACE_IOU]
