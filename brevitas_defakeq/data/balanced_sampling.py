"""Taking samples in turns: from labels, from data sets, from manipulations, then from videos."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

import numpy as np


class Queue(Protocol):
    """Something to take rows from, one by one."""

    def take(self) -> int | None:
        """The next row; None when all are taken."""


class Turns:
    """Queues that take turns, until all are empty."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._waiting = list(queues)
        self._next = 0

    def take(self) -> int | None:
        while self._waiting:
            self._next %= len(self._waiting)
            row = self._waiting[self._next].take()
            if row is not None:
                self._next += 1
                return row
            del self._waiting[self._next]
        return None


class Videos:
    """Videos, those first whose people were taken least often; among them those taken least often themselves.

    Args:
        videos: what a video shows (people, or the video itself) and its rows.
        taken: how often each was taken; shared by the queues of one label.
        generator: draws the order among equals, and of a video's rows.
    """

    def __init__(
        self, videos: Sequence[tuple[Hashable, np.ndarray]], taken: Counter, generator: np.random.Generator
    ) -> None:
        self._taken, self._generator = taken, generator
        ranks = generator.permutation(len(videos))
        #: (times its people, times itself, rank, people, rows that are left)
        self._heap = [(0, 0, int(rank), *video) for rank, video in zip(ranks, videos, strict=True)]
        heapq.heapify(self._heap)

    def take(self) -> int | None:
        while self._heap:
            people_taken, own_taken, rank, people, rows = heapq.heappop(self._heap)
            if people_taken != self._taken[people]:  # taken by way of another video since
                heapq.heappush(self._heap, (self._taken[people], own_taken, rank, people, rows))
                continue
            rows = self._generator.permutation(rows) if own_taken == 0 else rows
            self._taken[people] += 1
            if len(rows) > 1:
                heapq.heappush(self._heap, (people_taken + 1, own_taken + 1, rank, people, rows[1:]))
            return int(rows[0])
        return None


def first(queue: Queue, count: int) -> Iterator[int]:
    """Up to `count` rows."""
    for _ in range(count):
        row = queue.take()
        if row is None:
            return
        yield row
