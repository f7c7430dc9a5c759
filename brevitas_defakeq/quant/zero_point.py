"""A zero point that learned rounding cannot corrupt."""

import torch
from brevitas import config
from brevitas.core.quant import IntQuant
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn


class IntegerZeroPoint(nn.Module):
    """Zero point held as the integer it is, with a rounding of its own.

    Stock ``ParameterZeroPoint`` holds ``-min`` in real units and sends it through the quantizer's own
    ``int_quant``: a learned rounding in there is applied to the zero point as well and makes it
    weight-shaped, and every learned step of the scale moves it. Here the parameter is the code itself.

    Args:
        zero_point_shape: ``[C_out, 1, ...]`` per channel or ``()`` per tensor.
        int_quant: the quantizer's integer part; only its smallest and largest code are used.
    """

    def __init__(
        self,
        zero_point_shape: tuple[int, ...],
        int_quant: IntQuant,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(zero_point_shape, dtype=dtype, device=device))
        self.bounds = (int_quant.min_int, int_quant.max_int)

    def forward(self, x: Tensor, scale: Tensor, bit_width: Tensor) -> Tensor:
        """Integer code of 0.0 within ``[0, 2^b - 1]``, shape ``zero_point_shape``; STE gradient."""
        lowest, highest = (bound(bit_width.detach()) for bound in self.bounds)
        return torch.minimum(torch.maximum(round_ste(self.value), lowest), highest)

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        metadata: dict,
        strict: bool,
        missing: list[str],
        *rest: list[str],
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        if config.IGNORE_MISSING_KEYS:  # a float checkpoint, as stock Brevitas parameters allow
            missing[:] = [key for key in missing if key != prefix + "value"]
