"""``Quant`` nodes, and the weights of a layer as a QONNX graph computes them."""

from dataclasses import dataclass, replace

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.convolution_geometry import Attributes
from brevitas_defakeq.export.finn.graph_editor import QONNX_DOMAIN
from brevitas_defakeq.quant.activation_quantizer import activation_grid, code_range
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.partial_float import weight_quantizer


class QuantNode(nn.Module):
    """A ``Quant`` node: ``scale (clip(round(x / scale + zero_point)) - zero_point)``."""

    scale: Tensor
    zero_point: Tensor
    bits: Tensor

    def __init__(self, scale: Tensor, zero_point: Tensor, bits: float, *, signed: bool, narrow: bool) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().float().clone())
        self.register_buffer("zero_point", zero_point.detach().float().clone())
        self.register_buffer("bits", torch.tensor(float(bits)))
        self.attributes: Attributes = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": "ROUND"}

    def forward(self, x: Tensor) -> Tensor:
        return symbolic(
            f"{QONNX_DOMAIN}::Quant", (x, self.scale, self.zero_point, self.bits), self.attributes,
            dtype=torch.float32, shape=x.shape, version=1,
        )  # fmt: skip


def activation_node(proxy: ActivationProxy, name: str) -> QuantNode:
    """The node of an activation quantizer."""
    scale, zero_point, bits = activation_grid(proxy)
    low, high = code_range(proxy)
    return QuantNode(
        scale.reshape(()), zero_point.reshape(()).round(), round(float(bits)), signed=low < 0,
        narrow=low == -high,
    )  # fmt: skip


@dataclass(frozen=True)
class RoundedWeight:
    """A layer's weight as it is used, already rounded, with its grid by output channel.

    Attributes:
        values: [C_out, ...].
        scale, zero_point: of each channel, [C_out]; a restored channel's zero point is 0.
        restored: bool [C_out].
        bits: whole bits that hold the codes; three levels take two.
        restored_bits: of the restored channels; None where they are float.
        signed: codes ``-n..n`` without a zero point.
    """

    values: Tensor
    scale: Tensor
    zero_point: Tensor
    restored: Tensor
    bits: int
    restored_bits: int | None
    signed: bool

    @classmethod
    @torch.no_grad()
    def of(cls, layer: QuantLayer) -> "RoundedWeight":
        quantizer = weight_quantizer(layer)
        _, scale, zero_point = (tensor.clone() for tensor in read_codes(layer))
        values, restored = quantizer(layer.weight)[0].detach().clone(), quantizer.float_mask.flatten().clone()
        scale, zero_point, restored_bits = scale.flatten(), zero_point.flatten(), None
        if restored.any() and quantizer.restored_grid is not None:
            scale[restored] = quantizer.restored_grid[1].flatten()
            restored_bits = quantizer.restored_bits
        zero_point[restored] = 0.0
        width = quantizer.msb_clamp_bit_width_impl()
        codes = float(quantizer.int_quant.max_int(width) - quantizer.int_quant.min_int(width)) + 1
        return cls(
            values, scale, zero_point, restored, bits=max(2, int(codes - 1).bit_length()),
            restored_bits=restored_bits, signed=quantizer.symmetric,
        )  # fmt: skip

    def of_channels(self, chosen: Tensor | slice) -> "RoundedWeight":
        """Some of the output channels: a mask [C_out] or a slice."""
        names = ("values", "scale", "zero_point", "restored")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


class QonnxWeight(nn.Module):
    """The weight as the graph computes it: codes of one width, or of two put together in order.

    Args:
        axis: where the file has the output channels (``LayerKind.file_axis``).
    """

    order: Tensor

    def __init__(self, weight: RoundedWeight, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.parts = nn.ParameterList()
        self.quantizers = nn.ModuleList()
        self.mixed = bool(weight.restored.any() and not weight.restored.all())
        for restored in (False, True):
            if (weight.restored == restored).any():
                self._add(weight.of_channels(weight.restored == restored), restored)
        order = weight.restored.int().argsort(stable=True).argsort()
        self.register_buffer("order", order)

    def _add(self, weight: RoundedWeight, restored: bool) -> None:
        values = weight.values.movedim(0, self.axis)
        self.parts.append(nn.Parameter(values.contiguous(), requires_grad=False))
        bits, signed = (weight.restored_bits, True) if restored else (weight.bits, weight.signed)
        if bits is None:
            self.quantizers.append(nn.Identity())
            return
        shape = [-1 if axis == self.axis else 1 for axis in range(values.dim())]
        zero_point = torch.zeros(()) if signed else weight.zero_point.view(shape)
        scale = weight.scale.view(shape)
        self.quantizers.append(QuantNode(scale, zero_point, bits, signed=signed, narrow=signed))

    def forward(self) -> Tensor:
        parts = [quantize(part) for quantize, part in zip(self.quantizers, self.parts, strict=True)]
        return torch.cat(parts, self.axis).index_select(self.axis, self.order) if self.mixed else parts[0]
