"""Export modules for activation quantizers in ExecuTorch, LiteRT and Core ML."""

import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401 registers the operators
from torch import Tensor, nn

from brevitas_defakeq.export.replace_layers import byte_grid

_OPERATORS = torch.ops.quantized_decomposed


class IntegerActivation(nn.Module):
    """The run's own grid, on signed bytes."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        grid = byte_grid(proxy, name)
        low, high = grid.low - 128, grid.high - 128
        self.grid = grid.scale, grid.zero_point - 128, low, high, torch.int8

    def forward(self, x: Tensor) -> Tensor:
        codes = _OPERATORS.quantize_per_tensor.default(x, *self.grid)
        return _OPERATORS.dequantize_per_tensor.default(codes, *self.grid)


class RangeActivation(nn.Module):
    """The run's range without its steps, where the runtime's kernel takes steps of its own."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        self.range = byte_grid(proxy, name).range

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(*self.range)


class TokenActivation(nn.Module):
    """Signed bytes between each token's own extremes, for runtimes whose Linear takes nothing else."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        scale, zero_point = _OPERATORS.choose_qparams_per_token_asymmetric.default(x, torch.int8)
        grid = scale, zero_point, -128, 127, torch.int8
        codes = _OPERATORS.quantize_per_token.default(x, *grid)
        return _OPERATORS.dequantize_per_token.default(codes, *grid, torch.float32)
