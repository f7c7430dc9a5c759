"""Widths: what each packs, and one that is added from outside the package."""

import numpy as np
import pytest
import torch

from brevitas_defakeq import DefakeQConfig, export_onnx, load, quantize
from brevitas_defakeq.config import ReconstructionConfig
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.widths import WIDTHS, Width, register_width, width_of
from brevitas_defakeq.storage.packing import pack, packed_size, unpack
from brevitas_defakeq.utils.errors import UserError

PREPROCESSING = Preprocessing((16, 16), "bilinear", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def six_levels():
    """Six codes, three to a byte: 2 2/3 bits."""
    width = register_width(Width.of_levels(6, codes_per_byte=3))
    yield width
    del WIDTHS[width.bits]


@pytest.mark.parametrize(
    ("bits", "levels", "container", "planes"),
    [
        (1.6, 3, 2, ((1.6, 0),)),
        (2, 4, 2, ((2, 0),)),
        (3, 8, 3, ((2, 0), (1, 2))),
        (5, 32, 5, ((4, 0), (1, 4))),
        (7, 128, 7, ((4, 0), (2, 4), (1, 6))),
        (8, 256, 8, ()),
    ],
)
def test_the_table(bits, levels, container, planes):
    width = width_of(bits)
    assert (width.levels, width.container_bits, width.planes) == (levels, container, planes)


def test_what_is_no_width():
    with pytest.raises(UserError, match="2.5 bits is not a known width; choose of 1.6, 2, 3"):
        width_of(2.5)
    with pytest.raises(UserError, match="do not fit in a byte"):
        Width.of_levels(7, codes_per_byte=3)


@pytest.mark.parametrize(
    ("width", "why"),
    [
        (lambda: Width.of_levels(3, codes_per_byte=0), "0 codes of 3 levels do not fit in a byte"),
        (lambda: Width.whole(9), "cannot be packed; use Width.whole"),
        (lambda: Width(bits=3.3, levels=10), "cannot be packed"),
        (lambda: Width.of_levels(15, codes_per_byte=2), "4 bits with 16 levels is registered already"),
        (lambda: Width.of_levels(2, codes_per_byte=5), "1.6 bits with 3 levels is registered already"),
    ],
)
def test_widths_that_cannot_be_registered(width, why):
    before = list(WIDTHS.items())
    with pytest.raises(UserError, match=why):
        register_width(width())
    assert list(WIDTHS.items()) == before


def test_registering_a_width_again_changes_nothing(six_levels):
    before = list(WIDTHS.items())
    assert register_width(Width.of_levels(6, codes_per_byte=3)) == six_levels
    assert register_width(Width.whole(4)) == WIDTHS[4]
    assert list(WIDTHS.items()) == before and list(WIDTHS) == sorted(WIDTHS)


def test_an_added_width_packs(six_levels):
    codes = np.random.default_rng(0).integers(0, 6, 1000).astype(np.uint8)
    data = pack(codes, six_levels.bits)
    assert len(data) == packed_size(1000, six_levels.bits) == 334
    assert np.array_equal(unpack(data, 1000, six_levels.bits), codes)


def test_an_added_width_is_chosen_stored_and_exported(six_levels, tiny, images, tmp_path):
    widths = {"candidate_bits": (six_levels.bits,), "average_bits": 2.7, "samples": 32, "target": "mobile"}
    config = DefakeQConfig(**widths, reconstruction=ReconstructionConfig(iterations=2))
    result = quantize(tiny.model(), images, config, preprocessing=PREPROCESSING)
    assert set(result.bits.values()) == {six_levels.bits}
    codes = read_codes(result.quantized.stem[0])[0]
    assert 3 < len(codes.unique()) <= 6
    result.save(tmp_path / "run")
    again = load(tmp_path / "run", tiny.model())
    assert torch.equal(again.quantized(images), result.quantized(images))
    card = export_onnx(result, tmp_path, verify=images)
    assert card.bits == result.bits
    sizes = [layer.num_params for layer in result.plan.layers]
    assert card.bytes["codes"] == packed_size(sum(sizes), six_levels.bits)
