"""The rate term of learned rounding: what the codes of a block will take once they are entropy-coded.

Of every weight the rounding chooses between two codes. Beside the error it then counts their lengths, as
CERWU does in closed form (arXiv 2505.18758): common codes are short, rare ones long, -log2 of their
frequency among the layer's codes. The file keeps codes less their zero points (``storage.packing.centred``),
so those are counted, and the commonest is 0.

| symbol | here |
|---|---|
| h(V) | ``CodedWeight.soft_rounding`` |
| l | ``lengths``: bits of each code less its zero point, [levels] |
| rate | sum over a block's weights of ``(1 - h) l[floor] + h l[floor + 1]``, in bits |
"""

from collections.abc import Mapping

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor

from brevitas_defakeq.quant.coded_weight import CodedWeight, read_codes
from brevitas_defakeq.quant.partial_float import weight_quantizer

#: Steps between two counts of the codes.
_STEPS = 20
#: Added to every count: no code is infinitely long.
_AT_LEAST = 0.5


class RateTerm:
    """Bits of a block's codes, as a loss.

    Args:
        coded: the layers' weights while their rounding is learned.
        bit_loss: loss of one bit.
    """

    def __init__(self, coded: Mapping[str, CodedWeight], bit_loss: float) -> None:
        self.bit_loss = bit_loss
        self._layers = [_Layer(own) for own in coded.values()]

    def __call__(self, step: int) -> Tensor:
        """The loss at a step: ``bit_loss`` times the expected bits, differentiable in V; a scalar."""
        if step % _STEPS == 0:
            for layer in self._layers:
                layer.count_()
        return self.bit_loss * torch.stack([layer.bits() for layer in self._layers]).sum()


class _Layer:
    """One layer's codes: the two that each weight may take, and how long they are."""

    def __init__(self, coded: CodedWeight) -> None:
        self.coded = coded
        self.levels = int(coded.highest - coded.lowest) + 1
        zero = coded.zero_point
        self.lower, self.upper = (
            ((coded.base + step).clamp(coded.lowest, coded.highest) - zero).remainder(self.levels).long()
            for step in (0, 1)
        )
        self.longer = torch.zeros_like(coded.base)  # bits that rounding up adds
        self.at_least = torch.zeros(())  # bits of rounding everything down

    @torch.no_grad()
    def count_(self) -> None:
        """Take the code lengths anew from the codes as they would be hardened now."""
        chosen = torch.where(self.coded.soft_rounding() >= 0.5, self.upper, self.lower)
        lengths = code_lengths(chosen, self.levels)
        shorter = lengths[self.lower]
        self.longer, self.at_least = lengths[self.upper] - shorter, shorter.sum()

    def bits(self) -> Tensor:
        return self.at_least + (self.coded.soft_rounding() * self.longer).sum()


def code_lengths(codes: Tensor, levels: int) -> Tensor:
    """Bits that an ideal coder gives each code by its frequency, float32 [levels].

    >>> code_lengths(torch.tensor([0] * 7 + [1]), levels=2).round(decimals=1)
    tensor([0.3000, 2.6000])
    """
    counts = torch.bincount(codes.flatten(), minlength=levels).float() + _AT_LEAST
    return (counts.sum() / counts).log2()


@torch.no_grad()
def bits_of_layers(layers: Mapping[str, QuantLayer]) -> float:
    """Bits of the layers' present codes less their zero points, at the entropy of each layer."""
    found = 0.0
    for layer in layers.values():
        codes, _, zero_point = read_codes(layer)
        _, counts = (codes - zero_point).remainder(levels_of(layer)).unique(return_counts=True)
        found += float((counts * (counts.sum() / counts).log2()).sum())
    return found


def levels_of(layer: QuantLayer) -> int:
    """Number of codes at the layer's width."""
    quantizer = weight_quantizer(layer)
    width = quantizer.msb_clamp_bit_width_impl()
    return int(quantizer.int_quant.max_int(width) - quantizer.int_quant.min_int(width)) + 1
