"""Padding, strides and output size of a convolution, as export formats put them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor
from torch.nn import functional as F

from brevitas_defakeq.nn.static_padding import StaticPad


def conv_pads(layer: QuantLayer) -> list[int]:
    """A convolution's zeros around its input, all begins then all ends, as ONNX puts it."""
    if layer.padding_mode != "zeros":
        return [0] * (2 * len(layer.kernel_size))
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
    def of(cls, layer: QuantLayer) -> "ConvolutionGeometry":
        return cls(
            list(layer.kernel_size), list(layer.stride), conv_pads(layer), list(layer.dilation), layer.groups
        )

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


@dataclass(frozen=True)
class OwnPadding:
    """A convolution's padding with values of its input: "reflect", "replicate" or "circular".

    It only copies values, so it may stand before the input's quantizer or between the quantizer's two halves.

    Attributes:
        mode: as torch names it; "zeros" for a convolution that pads with zeros, by itself.
        sides: as ``F.pad`` takes them, last axis first.
    """

    mode: str
    sides: tuple[int, ...]

    @classmethod
    def of(cls, layer: QuantLayer) -> "OwnPadding":
        return cls(layer.padding_mode, tuple(layer._reversed_padding_repeated_twice))

    def __call__(self, x: Tensor) -> Tensor:
        """The padded input, by torch's operators; a circle by slices, since runtimes lack the mode."""
        if self.mode == "circular":
            return self._closed(x)
        return x if self.mode == "zeros" else F.pad(x, self.sides, mode=self.mode)

    @property
    def is_pad_node(self) -> bool:
        """Whether one ONNX ``Pad`` does it, in opset 18."""
        return self.mode in ("reflect", "replicate")

    @property
    def pads(self) -> list[int]:
        """For all axes of [N, C, ...], all begins then all ends, as ONNX puts it."""
        before, after = self.sides[-2::-2], self.sides[-1::-2]
        return [0, 0, *before, 0, 0, *after]

    def padded_shape(self, shape: Sequence[int]) -> list[int]:
        """The shape of a padded input."""
        half = len(shape)
        return [size + self.pads[axis] + self.pads[half + axis] for axis, size in enumerate(shape)]

    def _closed(self, x: Tensor) -> Tensor:
        for axis, (begin, end) in enumerate(zip(self.sides[::2], self.sides[1::2], strict=True), start=1):
            size = x.shape[-axis]
            parts = [x.narrow(-axis, size - begin, begin), x, x.narrow(-axis, 0, end)]
            x = torch.cat([part for part in parts if part.shape[-axis]], dim=-axis)
        return x
