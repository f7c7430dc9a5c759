"""Architectures of the families that timm has pretrained weights of: quantized whole, and the file agrees.

``benchmarks/architectures.py`` holds the list, measures, and writes the committed results.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import architectures  # noqa: E402


def check(found):
    """Whether enough is quantized, what stays float has a reason, and file and model agree."""
    assert "failed" not in found, found
    assert found["share"] >= architectures.WANTED, found["outside"]
    assert all(found["left_float"].values())
    agreement = found["agreement"]
    # Random networks hardly tell images apart: what flips one code moves the score by its own spread.
    assert 1 - agreement["verdicts"] <= max(0.1, 3 * agreement.get("own_flips", 0.0)), agreement
    assert agreement["difference"] < 0.02 + 3 * agreement["unrest"], agreement


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_quantized_and_exported(name):
    check(architectures.measure(name))


def test_two_or_more_of_each_family():
    counts = Counter(entry.family for entry in architectures.ARCHITECTURES.values())
    assert sum(counts.values()) >= 60
    assert min(counts.values()) >= 2


def test_the_committed_results_are_good_and_on_the_page():
    found = json.loads(architectures.RESULTS.read_text())["architectures"]
    for entry in found.values():
        check(entry)
    assert architectures.PAGE.read_text() == architectures.page(found)
