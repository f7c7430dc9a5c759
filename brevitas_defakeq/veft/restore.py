"""M_q^v: the channels worth restoring, and their weights put back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.quant.partial_float import weight_quantizer


@torch.no_grad()
def restore_channels_(
    layers: Mapping[str, nn.Module],
    reference_layers: Mapping[str, nn.Module],
    energies: Mapping[str, Tensor],
    fraction: float,
) -> None:
    """Restore the channels with the largest error until ``fraction`` of all weights is restored.

    A channel's error is that of its output, ``sum_j (W~ - W)_ij^2 A_j^2``, relative to its layer's output
    energy, per weight: chosen over the whole network, which measured far better than a share of each layer.
    """
    scores, sizes, owners = [], [], []
    for name, layer in layers.items():
        weight = reference_layers[name].weight.detach().flatten(1)
        energy = energies[name].repeat_interleave(len(weight) // len(energies[name]), dim=0).square()
        rounded = layer.quant_weight()
        rounded = getattr(rounded, "value", rounded).detach().flatten(1)
        error = ((rounded - weight).square() * energy).sum(dim=1)
        signal = (weight.square() * energy).sum().clamp_min(1e-20)
        scores.append(error / signal / weight.shape[1])
        sizes.append(torch.full_like(error, weight.shape[1]))
        owners += [(name, channel) for channel in range(len(weight))]
    order = torch.cat(scores).argsort(descending=True)
    taken = torch.cat(sizes)[order].cumsum(0)
    restored = order[taken <= fraction * taken[-1]]
    for index in restored.tolist():
        name, channel = owners[index]
        _restore_channel_(layers[name], reference_layers[name], channel)


def _restore_channel_(layer: nn.Module, reference: nn.Module, channel: int) -> None:
    layer.weight[channel] = reference.weight[channel]
    layer.bias[channel] = 0.0 if reference.bias is None else reference.bias[channel]
    weight_quantizer(layer).float_mask.view(-1)[channel] = True
