"""Quantizers to hand to any Brevitas layer: ``QuantLinear(..., weight_quant=HAQWeightPerChannelFloat)``.

| part | stock or ours | why |
|---|---|---|
| layers, proxies, ``BitWidthParameter``, ``ParameterScaling``, STE rounding, clamping | stock | |
| ``CandidateBitWidth`` | ours | stock restricts to integers, not to a set; no relaxed form |
| ``IntegerZeroPoint`` | ours | learned rounding and learned scales corrupt the stock one |
| ``CodeIntQuant``, ``CodeScaling`` | ours | exact integer bounds for three levels (1.6 bits) |
| ``PartialFloatIntQuant`` | ours | float channels (VEFT); range search repeated when the width changes |
| ``LogarithmicQuant`` | ours | stock has no logarithmic quantizer |
| activations: ``ShiftedUint8``, ``Int8``, ``Uint8ActPerTensorFloat`` | stock | the width is learnable |
"""

from brevitas.core.function_wrapper import TensorClamp
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.inject import this
from brevitas.inject.enum import BitWidthImplType, FloatToIntImplType, QuantType, ScalingImplType
from brevitas.quant.base import PerChannelFloatScaling8bit
from brevitas.quant.scaled_int import Int8ActPerTensorFloat, Uint8ActPerTensorFloat
from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat
from brevitas.quant.solver.weight import WeightQuantSolver

from brevitas_defakeq.quant.bit_width import CandidateBitWidth
from brevitas_defakeq.quant.integer_range import CodeIntQuant, CodeScaling
from brevitas_defakeq.quant.logarithmic import LogarithmicQuant
from brevitas_defakeq.quant.partial_float import PartialFloatIntQuant
from brevitas_defakeq.quant.widths import DEFAULT_CANDIDATE_BITS
from brevitas_defakeq.quant.zero_point import IntegerZeroPoint


class HAQWeightPerChannelFloat(PerChannelFloatScaling8bit, WeightQuantSolver):
    """Asymmetric weights, one scale and integer zero point per output channel, learnable width (eq. 1).

    >>> import brevitas.nn as qnn, torch
    >>> layer = qnn.QuantLinear(16, 4, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=3)
    >>> len(layer.quant_weight().int().unique()) <= 8
    True
    """

    quant_type = QuantType.INT
    bit_width_impl_type = BitWidthImplType.PARAMETER
    float_to_int_impl_type = FloatToIntImplType.ROUND
    scaling_impl_type = ScalingImplType.PARAMETER
    scaling_init = 1.0
    signed = False
    narrow_range = False
    int_quant = CodeIntQuant
    int_scaling_impl = CodeScaling
    tensor_clamp_impl = TensorClamp
    tensor_quant = PartialFloatIntQuant
    zero_point_impl = IntegerZeroPoint
    zero_point_shape = this.scaling_shape
    restrict_bit_width_impl = CandidateBitWidth
    candidate_bits = DEFAULT_CANDIDATE_BITS
    min_bit_width = 1
    centred_from_bits = 17  # never: the zero point is free


class HAQWeightPerChannelMobile(HAQWeightPerChannelFloat):
    """Asymmetric weights up to 6 bits; from 7 the zero point is the middle: codes less it stay within +-64.

    That fits int8, and two products with unsigned bytes fit the 16 bits that processors without VNNI use.
    """

    centred_from_bits = 7


class HAQWeightPerChannelSymmetric(HAQWeightPerChannelFloat):
    """Symmetric narrow-range weights (``-n..n``, zero point 0) for integer hardware."""

    signed = True
    narrow_range = True
    zero_point_impl = ZeroZeroPoint


class HAQActPerTensorFloat(ShiftedUint8ActPerTensorFloat):
    """Asymmetric activations, one scale and zero point per tensor, learnable width (eq. 1)."""

    bit_width_impl_type = BitWidthImplType.PARAMETER
    restrict_bit_width_impl = CandidateBitWidth
    candidate_bits = DEFAULT_CANDIDATE_BITS
    min_bit_width = 1


class HAQActLogarithmic(HAQActPerTensorFloat):
    """Codes of a logarithmic scale, for what comes from a softmax or a GELU; see ``logarithmic``."""

    tensor_quant = LogarithmicQuant
    scaling_impl_type = ScalingImplType.PARAMETER
    scaling_init = 1.0


class HAQActPerTensorSymmetric(Int8ActPerTensorFloat):
    """Symmetric signed activations (zero point 0) for integer hardware, learnable width."""

    bit_width_impl_type = BitWidthImplType.PARAMETER
    restrict_bit_width_impl = CandidateBitWidth
    candidate_bits = DEFAULT_CANDIDATE_BITS
    min_bit_width = 1


class HAQActPerTensorPositive(Uint8ActPerTensorFloat):
    """Unsigned activations (zero point 0) for what is never negative on integer hardware, learnable width."""

    bit_width_impl_type = BitWidthImplType.PARAMETER
    restrict_bit_width_impl = CandidateBitWidth
    candidate_bits = DEFAULT_CANDIDATE_BITS
    min_bit_width = 1
