"""Costs of layers: by hand where FINN's formulas are simple, and the same from a shape as from a graph."""

import pytest

pytestmark = pytest.mark.fpga
ZYNQ, VERSAL = "xc7z020clg400-1", "xcvc1902-vsva2197-2MP-e-S"


def matrix(**changes):
    from hw.estimate import MatrixLayer

    settings = {"inputs": 144, "outputs": 32, "vectors": 64, "input_bits": 8, "input_signed": False}
    return MatrixLayer(**{**settings, **changes})


def test_cycles_bits_and_multipliers_by_hand():
    from hw.estimate import matrix_cost

    cost = matrix_cost(matrix(), 4, ZYNQ, folding=(8, 6))
    assert cost.cycles == (144 // 6) * (32 // 8) * 64
    assert cost.weight_bits == 144 * 32 * 4
    assert cost.folding == {"PE": 8, "SIMD": 6} and cost.style == "rtl"
    assert cost.dsp == 8 // 4 * 6  # a DSP48 multiplies four narrow weights by one input
    assert cost.lut == 0 and "lut" in cost.unestimated  # said, not passed off as none


def test_narrow_weights_go_to_luts():
    from hw.estimate import matrix_cost

    costs = {bits: matrix_cost(matrix(), bits, ZYNQ, style="hls", folding=(8, 6)) for bits in (2, 3, 4, 8)}
    assert [cost.lut for cost in costs.values()] == sorted(cost.lut for cost in costs.values())
    assert costs[2].lut < costs[8].lut and "lut" not in costs[2].unestimated


@pytest.mark.parametrize("cycles", [150, 5_000, 200_000])
def test_folded_to_cycles(cycles):
    from hw.estimate import matrix_cost

    cost = matrix_cost(matrix(), 3, ZYNQ, cycles=cycles)
    assert cycles / 8 < cost.cycles <= cycles
    slower = matrix_cost(matrix(), 3, ZYNQ, cycles=10 * cycles)
    assert slower.lut <= cost.lut


def test_depthwise_needs_versal_for_rtl():
    from hw.estimate import matrix_cost

    depthwise = matrix(inputs=9, kernel=(3, 3), input_bits=4)
    assert matrix_cost(depthwise, 4, ZYNQ, folding=(4, 1)).style == "hls"
    cost = matrix_cost(depthwise, 4, VERSAL, folding=(4, 1))
    assert cost.style == "rtl" and cost.cycles == 9 * (32 // 4) * 64
    assert cost.weight_bits == 9 * 32 * 4
