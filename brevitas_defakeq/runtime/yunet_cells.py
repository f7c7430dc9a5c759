"""Decodes YuNet's outputs: faces from its grid cells, each face once.

The network has a cell for every 8, 16 and 32 pixels of its input in both directions. Each predicts how likely
a face is there, and its box and points relative to the cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Side of the network's square input and of its cells, in pixels.
INPUT_SIDE = 640
STRIDES = (8, 16, 32)
#: Boxes with a larger overlap (IoU) are the same face.
SAME_FACE_IOU = 0.3


def decode_faces(outputs: dict[str, np.ndarray], least: float) -> np.ndarray:
    """The faces in the network's outputs, [N, 15]: box (left, top, right, bottom), five points, score.

    Sorted by score. Scores are at least ``least``; of overlapping boxes only the best one is kept.
    """
    rows = np.concatenate([_faces_of_stride(outputs, stride, least) for stride in STRIDES])
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    return rows[list(suppress_overlaps(rows[:, :4]))]


def _faces_of_stride(outputs: dict[str, np.ndarray], stride: int, least: float) -> np.ndarray:
    """The faces [N, 15] of one grid of cells."""
    kinds = (outputs[f"{kind}_{stride}"] for kind in ("cls", "obj", "bbox", "kps"))
    likely, certain, boxes, points = (values.astype(np.float64) for values in kinds)
    scores = np.sqrt(likely.clip(0, 1) * certain.clip(0, 1))[:, 0]
    kept = np.flatnonzero(scores >= least)
    row, column = np.divmod(kept, INPUT_SIDE // stride)
    cells = np.stack([column, row], axis=1)  # [N, 2] as x, y
    centres = (cells + boxes[kept, :2]) * stride
    halves = np.exp(boxes[kept, 2:]) * stride / 2
    positions = (points[kept].reshape(-1, 5, 2) + cells[:, None]) * stride
    blocks = [centres - halves, centres + halves, positions.reshape(-1, 10), scores[kept, None]]
    return np.concatenate(blocks, axis=1)


def suppress_overlaps(boxes: np.ndarray) -> Iterator[int]:
    """Non-maximum suppression: the indices of boxes [N, 4] that overlap no earlier kept box too much."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.arange(len(boxes))
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        yield int(best)
        corners = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (corners[1] - corners[0]).clip(0).prod(axis=1)
        overlap = shared / (areas[best] + areas[rest] - shared)
        waiting = rest[overlap <= SAME_FACE_IOU]
