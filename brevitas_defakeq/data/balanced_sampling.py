"""Balanced sampling: queues of samples that are served in rotation, and the videos of one group."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

import numpy as np


class SampleQueue(Protocol):
    """Gives the rows of samples one by one."""

    def take(self) -> int | None:
        """The next row; None when all are taken."""


class RoundRobin:
    """Takes one row from each queue in rotation, until all are empty."""

    def __init__(self, queues: Sequence[SampleQueue]) -> None:
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


class VideoQueue:
    """Takes one row from the video whose people were taken least often, and among those from the least taken.

    Args:
        videos: who or what a video shows (people, or the video itself), and its rows.
        taken: how often each was taken; shared by the queues of one label.
        generator: draws the order of equal videos, and of a video's rows.
    """

    def __init__(
        self,
        videos: Sequence[tuple[Hashable, np.ndarray]],
        taken: Counter[Hashable],
        generator: np.random.Generator,
    ) -> None:
        self._taken, self._generator = taken, generator
        ranks = generator.permutation(len(videos))
        #: (times its people were taken, times it was taken, rank, people, remaining rows)
        self._heap = [(0, 0, int(rank), *video) for rank, video in zip(ranks, videos, strict=True)]
        heapq.heapify(self._heap)

    def take(self) -> int | None:
        while self._heap:
            people_taken, own_taken, rank, people, rows = heapq.heappop(self._heap)
            if people_taken != self._taken[people]:  # taken since, from another video
                heapq.heappush(self._heap, (self._taken[people], own_taken, rank, people, rows))
                continue
            rows = self._generator.permutation(rows) if own_taken == 0 else rows
            self._taken[people] += 1
            if len(rows) > 1:
                heapq.heappush(self._heap, (people_taken + 1, own_taken + 1, rank, people, rows[1:]))
            return int(rows[0])
        return None


def take_first(queue: SampleQueue, count: int) -> Iterator[int]:
    """Up to `count` rows."""
    for _ in range(count):
        row = queue.take()
        if row is None:
            return
        yield row
