"""The layer kind Linear."""

from collections.abc import Mapping

import brevitas.nn as qnn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fusion

from brevitas_defakeq.nn.layer_kind import LayerKind


def _operation(layer: nn.Linear, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(inputs, weight, bias)


def _build_quantized(layer: nn.Linear, options: Mapping[str, object]) -> nn.Module:
    return qnn.QuantLinear(layer.in_features, layer.out_features, **options)


def _sum_of_squares(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """[N, C_in] or [N, tokens, C_in] -> [1, C_in]."""
    return inputs.reshape(-1, inputs.shape[-1]).square().sum(dim=0, keepdim=True)


def _windows(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """[N, ..., C_in] -> [1, C_in, N * positions]."""
    return inputs.reshape(-1, inputs.shape[-1]).T[None]


LINEAR = LayerKind[nn.Linear](
    name="Linear", float_class=nn.Linear, quantized_class=qnn.QuantLinear, functions=frozenset({"linear"}),
    channel_dim=-1, operation=_operation, build_quantized=_build_quantized, sum_of_squares=_sum_of_squares,
    windows=_windows, fuse_batch_norm=fusion.fuse_linear_bn_weights, export_modules="linear", file_axis=1,
    integer_bias=False,
)  # fmt: skip
