"""Wavelet-CLIP's head, which has no nonlinearity, as the one Linear layer that it equals.

A three-level wavelet transform (db6, zero padding) decomposes the feature (1,024 values), a Linear layer
changes the 137 coarsest coefficients, the inverse transform restores a feature, and a second Linear layer
gives the two classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from brevitas_defakeq.detectors.entry import State

_LEVELS = 3
_CUT = 10  #: the filters have 12 taps; what they add beyond an end


def folded(state: State) -> State:
    """The checkpoint with the filters, ``slp`` and ``head`` replaced by a ``head`` that does it all."""
    filters = ("dwt.h0", "dwt.h1", "idwt.g0", "idwt.g1")
    used = (*filters, "slp.weight", "slp.bias", "head.weight", "head.bias")
    if any(name not in state for name in used):
        return state  # the plain CLIP detector has no wavelets
    tensors = {name: state[name].double() for name in used}
    width = tensors["head.weight"].shape[1]
    bias = wavelet_head(torch.zeros(1, width, dtype=torch.float64), tensors)[0]
    weight = wavelet_head(torch.eye(width, dtype=torch.float64), tensors) - bias  # [C, classes]
    kept = {name: tensor for name, tensor in state.items() if name not in used}
    return kept | {"head.weight": weight.T.float().contiguous(), "head.bias": bias.float()}


def wavelet_head(feature: Tensor, tensors: State) -> Tensor:
    """The head as published: features [N, C] to logits [N, classes]."""
    coarse, details = feature[:, None], []
    for _ in range(_LEVELS):
        details.append(_analysed(coarse, tensors["dwt.h1"]))
        coarse = _analysed(coarse, tensors["dwt.h0"])
    coarse = F.linear(coarse, tensors["slp.weight"], tensors["slp.bias"])
    for detail in reversed(details):
        coarse = coarse[..., : detail.shape[-1]]
        coarse = _synthesised(coarse, tensors["idwt.g0"]) + _synthesised(detail, tensors["idwt.g1"])
    return F.linear(coarse[:, 0], tensors["head.weight"], tensors["head.bias"])


def _analysed(signal: Tensor, taps: Tensor) -> Tensor:
    """Every second value of the signal [N, 1, n] filtered, [N, 1, (n + 11) // 2]."""
    padded = F.pad(signal, (_CUT, _CUT + signal.shape[-1] % 2))
    return F.conv1d(padded, taps, stride=2)


def _synthesised(coefficients: Tensor, taps: Tensor) -> Tensor:
    """The signal [N, 1, 2 n - 10] of coefficients [N, 1, n]."""
    return F.conv_transpose1d(coefficients, taps, stride=2)[..., _CUT:-_CUT]
