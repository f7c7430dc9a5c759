"""M_q^v: choosing the channels to restore, and restoring their weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import bias_of, weight_of
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
    energy, per weight. Choosing over the whole network gives a far smaller error than a share of each layer.
    """
    scores, sizes, owners = [], [], []
    for name, layer in layers.items():
        weight = weight_of(reference_layers[name]).detach().flatten(1)
        energy = energies[name].repeat_interleave(len(weight) // len(energies[name]), dim=0).square()
        rounded = weight_quantizer(layer)(weight_of(layer))[0].detach().flatten(1)
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
    weight_of(layer)[channel] = weight_of(reference)[channel]
    bias = bias_of(reference)
    layer.get_parameter("bias")[channel] = 0.0 if bias is None else bias[channel]
    weight_quantizer(layer).float_mask.view(-1)[channel] = True
