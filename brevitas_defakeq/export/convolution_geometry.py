"""Padding, strides and output size of a convolution, as export formats put them."""

from collections.abc import Sequence
from dataclasses import dataclass

from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer

from brevitas_defakeq.nn.static_padding import StaticPad
from brevitas_defakeq.utils.errors import UserError


def conv_pads(layer: QuantLayer, name: str) -> list[int]:
    """A convolution's zeros around its input, all begins then all ends, as ONNX puts it."""
    if layer.padding_mode != "zeros":
        raise UserError(f"{name}: padding_mode={layer.padding_mode!r} has no exported form; use zeros")
    if isinstance(layer.padding, str):
        whole = [
            d * (k - 1) * (layer.padding == "same")
            for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        before, after = [pad // 2 for pad in whole], [pad - pad // 2 for pad in whole]
    else:
        before, after = list(layer.padding), list(layer.padding)
    if isinstance(layer, StaticPad):
        left, right, top, bottom = layer.static_padding
        before, after = [before[0] + top, before[1] + left], [after[0] + bottom, after[1] + right]
    return before + after


#: Of an ONNX node, as ``torch.onnx.ops.symbolic`` takes them.
Attributes = dict[
    str, int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]
]


@dataclass(frozen=True)
class ConvolutionGeometry:
    """The attributes of an ONNX ``Conv``; ``pads`` has all begins, then all ends."""

    kernel: list[int]
    strides: list[int]
    pads: list[int]
    dilations: list[int]
    groups: int

    @classmethod
    def of(cls, layer: QuantLayer, name: str) -> "ConvolutionGeometry":
        return cls(
            list(layer.kernel_size), list(layer.stride), conv_pads(layer, name), list(layer.dilation),
            layer.groups,
        )  # fmt: skip

    @property
    def attributes(self) -> Attributes:
        """Attributes of the node, without ``kernel_shape``, which the weight has."""
        return {
            "strides": self.strides, "pads": self.pads, "dilations": self.dilations, "group": self.groups
        }  # fmt: skip

    def sides_of_transposed(self, sides: tuple[int, ...], added: Sequence[int]) -> list[int]:
        """Spatial size of a transposed convolution's output for an input of these ``sides``.

        Args:
            added: the layer's ``output_padding``.
        """
        half = len(self.kernel)
        axes = zip(
            sides, self.kernel, self.strides, self.dilations, self.pads[:half], self.pads[half:], added,
            strict=True,
        )  # fmt: skip
        return [
            (size - 1) * stride - begin - end + dilation * (kernel - 1) + more + 1
            for size, kernel, stride, dilation, begin, end, more in axes
        ]

    def output_sides(self, sides: tuple[int, ...]) -> list[int]:
        """Spatial size of the output for an input of these ``sides``."""
        half = len(self.kernel)
        axes = zip(
            sides, self.kernel, self.strides, self.dilations, self.pads[:half], self.pads[half:], strict=True
        )
        return [
            (size + begin + end - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation, begin, end in axes
        ]
