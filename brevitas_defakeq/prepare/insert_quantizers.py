"""Brevitas quantizers put in: float layers become quantized layers under the same names."""

from collections.abc import Mapping
from dataclasses import dataclass

from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import nn

from brevitas_defakeq.nn.attention import PRODUCT_OPERANDS, QUANTIZED_ATTENTION
from brevitas_defakeq.nn.layer_kinds import layer_kind_of, weight_and_bias
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module, replace_modules
from brevitas_defakeq.prepare.hardware_quantizers import (
    activation_options,
    add_quantizers_,
    hardware_preset,
    layer_options,
)
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.presets import (
    HAQActLogarithmic,
    HAQActPerTensorFloat,
    HAQWeightPerChannelFloat,
    HAQWeightPerChannelMobile,
    HAQWeightPerChannelSymmetric,
)


@dataclass(frozen=True)
class QuantScheme:
    """Which quantizers are put in.

    Attributes:
        candidate_bits: widths the weights may take.
        activation_bits: width of every activation, 2 to 16; None leaves activations in float.
        symmetric: integer hardware: zero points 0 for weights and activations, and quantizers wherever the
            plan's ``grids`` ask for one.
        mobile: what integer kernels of phones and browsers take: the widest weights centred, quantizers at
            the outputs that no quantized layer reads.
        logarithmic: logarithmic activations behind softmaxes and GELUs (AdaLog, ECCV 2024).
    """

    candidate_bits: tuple[float, ...]
    activation_bits: int | None
    symmetric: bool = False
    mobile: bool = False
    logarithmic: bool = False

    @classmethod
    def of_target(
        cls,
        target: str,
        candidate_bits: tuple[float, ...],
        activation_bits: int | None,
        *,
        logarithmic: bool = False,
    ) -> "QuantScheme":
        """The scheme of "any", "mobile" or "fpga"."""
        return cls(
            candidate_bits, activation_bits, symmetric=target == "fpga", mobile=target == "mobile",
            logarithmic=logarithmic,
        )  # fmt: skip


def insert_quantizers_(model: nn.Module, plan: Plan, scheme: QuantScheme) -> None:
    """Replace the planned layers and attentions of a prepared float model, in place."""
    modules, bits = modules_by_name(model), scheme.activation_bits
    if bits is not None:
        for name in plan.attentions:
            attention, operands = modules[name], _operands(scheme, bits)
            quantized = QUANTIZED_ATTENTION[type(attention)].from_float(attention, operands)
            replace_module(model, attention, quantized)
    quantized_layers = {}
    for layer in plan.layers:
        options = {} if bits is None else _layer_options(layer.name, plan, scheme, bits)
        quantized_layers[modules[layer.name]] = quantize_layer(modules[layer.name], scheme, options)
    replace_modules(model, quantized_layers)
    if scheme.symmetric and bits is not None:
        add_quantizers_(model, plan.grids, bits)


def _operands(scheme: QuantScheme, bits: int) -> dict[str, dict]:
    """What an attention's quantizers are made with; only the softmax is never negative."""

    def preset(softmax: bool) -> type:
        return hardware_preset(softmax) if scheme.symmetric else _preset(softmax, scheme)

    return {name: activation_options(preset(name == "softmax_quant"), bits) for name in PRODUCT_OPERANDS}


def _preset(long_tailed: bool, scheme: QuantScheme) -> type:
    return HAQActLogarithmic if long_tailed and scheme.logarithmic else HAQActPerTensorFloat


def _layer_options(name: str, plan: Plan, scheme: QuantScheme, bits: int) -> dict[str, object]:
    if scheme.symmetric:
        return layer_options(name, plan.grids, bits)
    kinds = ("input", "output") if scheme.mobile and name in plan.open_outputs else ("input",)
    options: dict[str, object] = {}
    for kind in kinds:
        preset = _preset(kind == "input" and name in plan.long_tailed, scheme)
        options |= activation_options(preset, bits, kind)
    return options


def quantize_layer(layer: nn.Module, scheme: QuantScheme, activation: Mapping[str, object]) -> QuantLayer:
    """A quantized layer that shares ``layer``'s weight and bias; a missing bias is added as zeros.

    The bias is what mean matching and reconstruction write into.
    """
    weight, bias = weight_and_bias(layer)
    weights = HAQWeightPerChannelSymmetric if scheme.symmetric else HAQWeightPerChannelFloat
    options = {
        "weight_quant": HAQWeightPerChannelMobile if scheme.mobile else weights,
        "weight_bit_width": int(max(scheme.candidate_bits)),
        "weight_candidate_bits": tuple(scheme.candidate_bits),
        "return_quant_tensor": False,
        "bias": True,
        "device": weight.device,
        "dtype": weight.dtype,
        **activation,
    }
    new: QuantLayer = layer_kind_of(layer).build_quantized(layer, options)
    bias = nn.Parameter(weight.new_zeros(len(weight))) if bias is None else bias
    # Into the layer's own parameters: Brevitas' injector holds these, others would be a second copy.
    new.weight.data, new.bias.data = weight.detach().clone(), bias.detach().clone()
    new.weight_quant.init_tensor_quant()
    return new.train(layer.training)
