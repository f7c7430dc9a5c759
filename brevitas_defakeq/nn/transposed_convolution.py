"""The layer kind ConvTranspose2d, its weight laid out as any layer's: [C_out, C_in/groups, kh, kw].

torch has [C_in, C_out/groups, kh, kw], where with groups no axis holds the output channels.
"""

from collections.abc import Mapping
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fusion

from brevitas_defakeq.nn.layer_kind import LayerKind
from brevitas_defakeq.nn.windows import windows


def exchanged(weight: Tensor, groups: int) -> Tensor:
    """[C_in, C_out/groups, ...] -> [C_out, C_in/groups, ...], or the other way round."""
    first, second, *kernel = weight.shape
    grouped = weight.reshape(groups, first // groups, second, *kernel)
    return grouped.transpose(1, 2).reshape(groups * second, first // groups, *kernel).contiguous()


def transposed_product(
    layer: nn.ConvTranspose2d, inputs: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """``conv_transpose2d`` with a weight [C_out, C_in/groups, kh, kw]."""
    weight = exchanged(weight, layer.groups)
    return F.conv_transpose2d(
        inputs,
        weight,
        bias,
        layer.stride,
        _padding(layer),
        layer.output_padding,
        layer.groups,
        layer.dilation,
    )


def _padding(layer: nn.ConvTranspose2d) -> tuple[int, ...]:
    """What is cut off the output; no string names it, as with a convolution."""
    return tuple(int(side) for side in layer.padding)


def _arguments(layer: nn.ConvTranspose2d) -> dict[str, Any]:
    names = (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "dilation",
        "groups",
    )  # fmt: skip
    return {name: getattr(layer, name) for name in names}


class TransposedConv2d(nn.ConvTranspose2d):
    """``ConvTranspose2d`` with output channels first in its weight."""

    @classmethod
    def from_float(cls, layer: nn.ConvTranspose2d) -> "TransposedConv2d":
        with torch.device("meta"):
            new = cls(**_arguments(layer))
        new.weight = nn.Parameter(exchanged(layer.weight.detach(), layer.groups))
        new.bias = layer.bias
        return new.train(layer.training)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            raise TypeError("output_size is not supported")
        return transposed_product(self, input, self.weight, self.bias)


#: What Brevitas' own layers leave out.
_STOCK = {"bias_quant": None, "input_quant": None, "output_quant": None, "return_quant_tensor": False}


class QuantTransposedConv2d(qnn.QuantConvTranspose2d):
    """Brevitas' ``QuantConvTranspose2d`` with output channels first in its weight."""

    def __init__(self, like: nn.ConvTranspose2d, **options: Any) -> None:
        own = {name: options.pop(name) for name in ("bias", "device", "dtype") if name in options}
        nn.ConvTranspose2d.__init__(self, **_arguments(like), **own)
        weight = self.get_parameter("weight").detach()
        self.weight = nn.Parameter(exchanged(weight, self.groups))
        QuantLayer.__init__(self, **{**_STOCK, **options})

    @property
    def output_channel_dim(self) -> int:
        return 0

    def forward(self, inputs: Tensor) -> Tensor:
        return self.forward_impl(inputs)

    def inner_forward_impl(self, x: Tensor, quant_weight: Tensor, quant_bias: Tensor | None) -> Tensor:
        return transposed_product(self, _plain(x), _plain(quant_weight), quant_bias)


def _plain(values: Any) -> Tensor:
    """The values of a Brevitas ``QuantTensor``, or the tensor itself."""
    return values.value if hasattr(values, "value") else values


def _groups(layer: nn.ConvTranspose2d) -> int:
    return layer.groups


def _build_quantized(layer: nn.ConvTranspose2d, options: Mapping[str, object]) -> nn.Module:
    return QuantTransposedConv2d(layer, **options)


def _sum_of_squares(layer: nn.ConvTranspose2d, inputs: Tensor) -> Tensor:
    """[N, C, H, W] -> [groups, C_in/groups * kh * kw]: of the inputs whose products are in the output."""
    squares = inputs.square().sum(dim=0)  # [C, H, W]
    height, width = transposed_product(layer, inputs[:1], layer.weight, None).shape[-2:]
    rows, columns = (
        [_inside(layer, axis, position, size, side) for position in range(layer.kernel_size[axis])]
        for axis, size, side in ((0, inputs.shape[-2], height), (1, inputs.shape[-1], width))
    )
    sums = [[squares[:, row, column].sum((1, 2)) for column in columns] for row in rows]
    return torch.stack([torch.stack(row, dim=-1) for row in sums], dim=-2).view(layer.groups, -1)


def _windows(layer: nn.ConvTranspose2d, inputs: Tensor) -> Tensor:
    """[N, C, H, W] -> [groups, C_in/groups * kh * kw, N * positions].

    A transposed convolution is one of the inputs with ``stride - 1`` zeros between them, its kernel turned.
    """
    images, channels, height, width = inputs.shape
    (down, right), kernel = layer.stride, layer.kernel_size
    spread = inputs.new_zeros(images, channels, (height - 1) * down + 1, (width - 1) * right + 1)
    spread[..., ::down, ::right] = inputs
    before = [d * (k - 1) - p for d, k, p in zip(layer.dilation, kernel, _padding(layer), strict=True)]
    after = [side + int(more) for side, more in zip(before, layer.output_padding, strict=True)]
    sides = F.pad(spread, (before[1], after[1], before[0], after[0]))  # where negative, it cuts off
    turned = windows(sides, kernel, (1, 1), layer.dilation, layer.groups)
    return turned.unflatten(1, (-1, *kernel)).flip(2, 3).flatten(1, 3)


def _inside(layer: nn.ConvTranspose2d, axis: int, position: int, size: int, side: int) -> slice:
    """The inputs along an axis whose product with a kernel position lies inside the output."""
    stride = layer.stride[axis]
    first = position * layer.dilation[axis] - _padding(layer)[axis]  # where input 0 goes
    return slice(max(0, -(first // stride)), max(0, min(size, (side - 1 - first) // stride + 1)))


TRANSPOSED_CONV2D = LayerKind[TransposedConv2d](
    name="ConvTranspose2d", float_class=TransposedConv2d, quantized_class=QuantTransposedConv2d,
    functions=frozenset({"conv_transpose2d"}), channel_dim=1, operation=transposed_product,
    build_quantized=_build_quantized, sum_of_squares=_sum_of_squares,
    windows=_windows, fuse_batch_norm=fusion.fuse_conv_bn_weights, export_modules="transposed convolution",
    exchanged=_groups, integer_bias=False,
)  # fmt: skip
