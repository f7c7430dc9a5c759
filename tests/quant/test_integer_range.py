"""Codes and levels against the numbers that a bit-width means."""

import math

import pytest
import torch

from brevitas_defakeq.quant.integer_range import (
    CodeIntQuant,
    CodeScaling,
    container_bits,
    effective_bits,
    num_levels,
)


@pytest.mark.parametrize(
    ("bits", "levels", "narrow"),
    [(1.6, 3, 3), (2, 4, 3), (3, 8, 7), (4, 16, 15), (6, 64, 63), (8, 256, 255), (16, 65536, 65535)],
)
def test_levels_are_exact_integers(bits, levels, narrow):
    width = effective_bits(torch.tensor(float(bits)))
    assert float(num_levels(width)) == levels
    assert float(num_levels(width, signed_narrow=True)) == narrow


def test_relaxed_widths_have_fractional_levels_and_their_gradient():
    width = torch.tensor(2.5, requires_grad=True)
    levels = num_levels(width)
    levels.backward()
    assert float(levels) == pytest.approx(2**2.5)
    assert float(width.grad) == pytest.approx(math.log(2) * 2**2.5)


def test_the_gradient_survives_where_the_value_is_snapped():
    width = torch.tensor(3.0, requires_grad=True)
    num_levels(width).backward()
    assert float(width.grad) == pytest.approx(math.log(2) * 8)


@pytest.mark.parametrize(("bits", "container"), [(1.6, 2), (2, 2), (3, 3), (8, 8)])
def test_containers_are_whole_bits(bits, container):
    assert float(container_bits(effective_bits(torch.tensor(float(bits))))) == container


@pytest.mark.parametrize(
    ("signed", "bits", "low", "high"),
    [(False, 1.6, 0, 2), (False, 3, 0, 7), (True, 1.6, -1, 1), (True, 2, -1, 1), (True, 4, -7, 7)],
)
def test_bounds_and_scaling(signed, bits, low, high):
    from brevitas.core.function_wrapper import RoundSte, TensorClamp
    from brevitas.core.quant.delay import DelayWrapper

    width = effective_bits(torch.tensor(float(bits)))
    quant = CodeIntQuant(
        narrow_range=signed,
        signed=signed,
        input_view_impl=torch.nn.Identity(),
        float_to_int_impl=RoundSte(),
        tensor_clamp_impl=TensorClamp(),
        quant_delay_steps=0,
    )
    assert isinstance(quant.delay_wrapper, DelayWrapper)
    assert (float(quant.min_int(width)), float(quant.max_int(width))) == (low, high)
    assert float(CodeScaling(signed)(width)) == high
