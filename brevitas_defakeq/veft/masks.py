"""VEFT's channel masks: which output channels are restored to float, drawn or chosen."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.nn.module_tree import bias_of, weight_of
from brevitas_defakeq.quant.moments import along_channels


def random_mask(channels: int, fraction: float, generator: torch.Generator) -> Tensor:
    """Exactly ``round(fraction * channels)`` channels, drawn afresh. bool [channels]."""
    mask = torch.zeros(channels, dtype=torch.bool)
    mask[torch.randperm(channels, generator=generator)[: round(fraction * channels)]] = True
    return mask


def largest_mask(score: Tensor, fraction: float) -> Tensor:
    """The ``round(fraction * channels)`` channels with the largest score. bool [channels]."""
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask[score.topk(round(fraction * len(score))).indices] = True
    return mask


class FloatChannels:
    """Restores masked output channels of coded layers to their float weight and bias while switched on.

    Args:
        layers: quantized layers, by name.
        coded: modules that round their weights: ``CodedWeight``, or the weight quantizers.
        float_layers: the float layers, same names.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        coded: Mapping[str, nn.Module],
        float_layers: Mapping[str, nn.Module],
    ) -> None:
        self.layers, self.coded, self.float_layers = layers, coded, float_layers
        self.masks = {
            name: torch.zeros(len(weight_of(layer)), dtype=torch.bool, device=weight_of(layer).device)
            for name, layer in layers.items()
        }

    def draw(self, fraction: float, generator: torch.Generator) -> None:
        """A fresh random mask for every layer (eq. 10's augmentation)."""
        self.masks = {
            name: random_mask(len(mask), fraction, generator).to(mask.device)
            for name, mask in self.masks.items()
        }

    def choose(self, fraction: float) -> None:
        """Fixed masks: the channels with the largest squared rounding error."""
        for name, layer in self.layers.items():
            rounded = self.coded[name](weight_of(layer))[0].detach().flatten(1)
            original = weight_of(self.float_layers[name]).detach().flatten(1)
            error = (rounded - original).square().sum(dim=1)
            self.masks[name] = largest_mask(error, fraction)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within the context the layers compute M_q^v: masked channels in float, the others as they are."""

        def bias_back(name: str) -> Callable[..., Tensor]:
            def hook(layer: nn.Module, _: object, output: Tensor) -> Tensor:
                bias = layer.get_parameter("bias")
                original = bias_of(self.float_layers[name])
                original = torch.zeros_like(bias) if original is None else original.detach()
                change = torch.where(self.masks[name], original - bias, torch.zeros_like(bias))
                return output + along_channels(change, output, channel_dim(layer))

            return hook

        handles = []
        before = {name: self.coded[name].float_mask for name in self.layers}
        try:
            for name, layer in self.layers.items():
                coded, original = self.coded[name], weight_of(self.float_layers[name]).detach()
                coded.float_weight = original
                coded.float_mask = self.masks[name].view(-1, *[1] * (original.dim() - 1))
                handles.append(layer.register_forward_hook(bias_back(name), prepend=True))
            yield
        finally:
            for handle in handles:
                handle.remove()
            for name in self.layers:
                self.coded[name].float_mask = before[name]
