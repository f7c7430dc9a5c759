"""Logarithmic quantizer of activations behind a softmax or a GELU (AdaLog, ECCV 2024, arXiv 2407.12951).

| symbol | here |
|---|---|
| s | ``scaling_impl``: the largest value |
| q, r | ``step``, ``LOG_ROOT``: two neighbouring values differ by the factor ``2^(q/r)`` |
| d | ``shift``: added first, so that no value is negative, and taken off behind (a GELU goes down to -0.17) |
"""

import torch
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

#: r: with q from 1 on, bases are as fine as 2^(1/37).
LOG_ROOT = 37


class LogarithmicQuant(nn.Module):
    """A ``tensor_quant``: ``k = round(-r/q log2((x + d) / s))``, ``x~ = s 2^(-k q/r) - d``.

    Codes are ``0..2^b - 2``, and ``2^b - 1`` for the value 0 of all that is smaller: b bits in all, where the
    authors' code has a zero beside 2^b values. The shift is taken off here, which gives what taking it out of
    the next layer's bias would: ``bias - W d``.

    Args:
        scaling_impl: s, a ``ParameterScaling``.
        bit_width_impl: b.
    """

    step: Tensor
    shift: Tensor

    def __init__(self, scaling_impl: nn.Module, bit_width_impl: nn.Module) -> None:
        super().__init__()
        self.scaling_impl, self.msb_clamp_bit_width_impl = scaling_impl, bit_width_impl
        self.register_buffer("step", torch.tensor(float(LOG_ROOT)))
        self.register_buffer("shift", torch.tensor(0.0))

    def forward(self, x: Tensor) -> tuple[Tensor, None, None, None]:
        """The quantized value alone: it has neither scale nor zero point."""
        largest, zero = self.scaling_impl(x), 2 ** self.msb_clamp_bit_width_impl() - 1
        share = ((x + self.shift) / largest).clamp(torch.finfo(x.dtype).tiny, 1.0)
        code = round_ste(-share.log2() * (LOG_ROOT / self.step))
        value = largest * 2 ** (-code * (self.step / LOG_ROOT))
        return torch.where(code < zero, value, 0.0) - self.shift, None, None, None
