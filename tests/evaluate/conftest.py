"""Made scores that several test files share."""

from pathlib import Path

import numpy as np
import pytest

from brevitas_defakeq.data.sources import Sample


@pytest.fixture(scope="session")
def scored():
    """``scored(n, shift, seed, ties)``: labels [n] and scores [n]; fakes lie higher by ``shift``."""

    def make(n=400, shift=1.0, seed=0, ties=False):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, n)
        scores = generator.normal(size=n) + shift * labels
        return labels, np.round(scores * 2) if ties else scores

    return make


@pytest.fixture(scope="session")
def as_samples():
    """``as_samples(labels, videos, datasets, manipulations)``: samples; what is left out is one for each."""

    def make(labels, videos=None, datasets=None, manipulations=None):
        count = len(labels)
        paths = [Path(f"frames/{index}.png") for index in range(count)]
        videos, datasets = videos or list(map(str, range(count))), datasets or ["test"] * count
        rows = zip(paths, labels, videos, datasets, manipulations or [""] * count, strict=True)
        return [Sample(*row) for row in rows]

    return make
