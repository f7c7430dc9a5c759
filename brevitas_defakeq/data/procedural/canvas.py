"""An image together with the coordinates of the head in it."""

from __future__ import annotations

import copy

import numpy as np

from brevitas_defakeq.data.procedural.people import Moment, Person
from brevitas_defakeq.data.procedural.shapes import axes


class Canvas:
    """An image being painted ``[3, S, S]``, and the coordinates of the head and its front.

    ``x, y`` are face units of the upright head ``[S, S]``; ``front_x, front_y`` are those of the face's
    front, shifted by yaw and pitch where the head bulges towards the camera, so features turn with the head.
    ``rim`` is 1 at the head's edge; ``pixels`` is the number of pixels in a face unit.
    """

    def __init__(self, size: int, *, person: Person, moment: Moment) -> None:
        columns, rows = axes(size)
        cosine, sine = float(np.cos(moment.roll)), float(np.sin(moment.roll))
        across, down = columns - moment.shift[0], rows - moment.shift[1]
        self.size = size
        self.moment = moment
        self.x = (across * cosine + down * sine) / moment.scale
        self.y = (down * cosine - across * sine) / moment.scale
        self.rim = (self.x / person.head_width) ** 2 + self.y**2 / 1.05
        bulge = np.sqrt(np.maximum(1.05 - self.rim, 0.0))
        self.front_x = self.x - moment.yaw * bulge
        self.front_y = self.y - moment.pitch * bulge
        self.pixels = size * moment.scale / 2
        self.image = np.empty((3, size, size), dtype=np.float32)

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Row and column (float, pixels) of a point of the upright head."""
        moment = self.moment
        cosine, sine = float(np.cos(moment.roll)), float(np.sin(moment.roll))
        column = ((x * cosine - y * sine) * moment.scale + moment.shift[0] + 1) * self.size / 2
        row = ((x * sine + y * cosine) * moment.scale + moment.shift[1] + 1) * self.size / 2
        return row, column

    def box(self, centre: tuple[float, float], reach: tuple[float, float]) -> tuple[slice, slice]:
        """Slices of the rows and columns within ``reach`` (x, y) of ``centre``, after the roll."""
        row, column = self.position(*centre)
        lean = abs(float(np.sin(self.moment.roll)))
        wide, high = reach[0] + lean * reach[1], reach[1] + lean * reach[0]
        return self.span(row, high * self.pixels), self.span(column, wide * self.pixels)

    def span(self, middle: float, half: float) -> slice:
        """The pixels ``middle`` - ``half`` to ``middle`` + ``half`` that lie in the image, one at least."""
        first, last = int(middle - half), int(middle + half) + 2
        return slice(min(max(first, 0), self.size - 1), max(min(last, self.size), 1))

    def crop(self, centre: tuple[float, float], reach: tuple[float, float]) -> Canvas:
        """The canvas cropped to a box: views, so painting there paints here."""
        rows, columns = self.box(centre, reach)
        cut = copy.copy(self)
        for name in ("x", "y", "rim", "front_x", "front_y"):
            setattr(cut, name, getattr(self, name)[rows, columns])
        cut.image = self.image[:, rows, columns]
        return cut

    def window(
        self, centre: tuple[float, float], reach: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[slice, slice]]:
        """The image around a point of the front, ``reach`` (face units) to each side: view, x, y, box."""
        bulge = float(np.sqrt(max(1.05 - centre[0] ** 2 * 1.8 - centre[1] ** 2, 0.0)))
        upright = centre[0] + self.moment.yaw * bulge, centre[1] + self.moment.pitch * bulge
        box = self.box(upright, (reach + 0.05, reach + 0.05))
        x, y = self.front_x[box] - centre[0], self.front_y[box] - centre[1]
        return self.image[(slice(None), *box)], x, y, box
