"""The modules that steps are made of: torch's own layers and activations, and functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.onnx_graph.functions import FUNCTIONS
from brevitas_defakeq.nn.static_padding import StaticPadConv2d

#: Torch's modules that are built from their own arguments.
_TORCH = (
    "Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
    "RMSNorm", "ReLU", "ReLU6", "Hardtanh", "Hardswish", "Hardsigmoid", "Sigmoid", "Tanh", "GELU", "SiLU",
    "LeakyReLU", "ELU", "SELU", "CELU", "PReLU", "Softplus", "Softsign", "Mish", "Softmax", "LogSoftmax",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool2d",
)  # fmt: skip


class GraphFunction(nn.Module):
    """A function of its arguments and of constants of its own.

    Args:
        function: a key of ``FUNCTIONS``; ``attributes``: its keywords.
        constants: position -> [dtype, shape, whether it is a parameter], of the arguments that are given as
            None.
    """

    def __init__(
        self, function: str, attributes: Mapping[str, Any], constants: Mapping[str, Sequence[Any]]
    ) -> None:
        super().__init__()
        self.function, self.attributes = function, dict(attributes)
        for position, (dtype, shape, trained) in constants.items():
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            if trained:
                self.register_parameter(f"constant{position}", nn.Parameter(tensor))
            else:
                self.register_buffer(f"constant{position}", tensor)

    def forward(self, *operands: Tensor | float | None) -> Tensor:
        filled = [
            getattr(self, f"constant{position}") if operand is None else operand
            for position, operand in enumerate(operands)
        ]
        result: Tensor = FUNCTIONS[self.function](*filled, **self.attributes)
        return result

    def extra_repr(self) -> str:
        return ", ".join([self.function, *(f"{key}={value}" for key, value in self.attributes.items())])


def _padded_convolution(static_padding: Sequence[int], **options: Any) -> nn.Module:
    layer = StaticPadConv2d(**options)
    left, right, top, bottom = static_padding
    layer.static_padding = left, right, top, bottom
    return layer


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    **{name: getattr(nn, name) for name in _TORCH},
    "PaddedConv2d": _padded_convolution,
    "function": GraphFunction,
}


def build_module(kind: str, options: Mapping[str, Any]) -> nn.Module:
    """The module of a step, with tensors of any content."""
    return _BUILDERS[kind](**options)
