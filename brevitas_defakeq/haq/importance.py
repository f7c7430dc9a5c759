"""Channel energy, element and layer importance (eqs. 2-4), streamed over the calibration set.

| symbol | here |
|---|---|
| A_j | ``energy`` [groups, K]: root of the mean over images of the summed squares |
| S_l | ``importance``: mean over elements of ``|W_ij| A_j`` |
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.nn.module_tree import removed_after


class ChannelEnergy:
    """A_j of one layer (eq. 2), accumulated batch by batch.

    For a convolution j runs over C_in/groups * kh * kw: each kernel position sees the input shifted, so
    its energy is that of the strided, padded window it reads. The sum over positions is kept (not a mean):
    it is what gives early layers their high score.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.kind = layer, layer_kind_of(layer)
        self.total: Tensor | float = 0.0

    @torch.no_grad()
    def add(self, inputs: Tensor) -> None:
        """One batch of the layer's inputs, [N, C, H, W], [N, C] or [N, tokens, C]."""
        with torch.autocast(inputs.device.type, enabled=False):  # the detector may have turned it on
            self.total = self.total + self.kind.sum_of_squares(self.layer, inputs.detach().float()).double()

    def energy(self, images: int) -> Tensor:
        """A_j over ``images`` samples (eq. 2): [groups, K] with K = C_in/groups * kh * kw."""
        return torch.as_tensor(self.total / images).sqrt().float()


def expand_energy(energy: Tensor, out_channels: int) -> Tensor:
    """A_j for every weight element's row: [groups, K] -> [C_out, K]."""
    return energy.repeat_interleave(out_channels // energy.shape[0], dim=0)


def layer_importance(weight: Tensor, energy: Tensor) -> float:
    """S_l = mean_ij |W_ij| A_j (eqs. 3-4).

    Args:
        weight: [C_out, C_in/groups, ...].
        energy: A_j, [groups, K].

    >>> layer_importance(torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.5]]))
    2.0
    """
    rows = weight.detach().flatten(1).abs()
    return float((rows * expand_energy(energy, rows.shape[0])).mean())


@torch.no_grad()
def channel_energies(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    """A_j of every layer from one float pass over the calibration batches ([N, 3, H, W] each)."""
    meters = {name: ChannelEnergy(layer) for name, layer in layers.items()}
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, meter=meters[name]: meter.add(inputs[0]))
        for name, layer in layers.items()
    ]
    images = 0
    with removed_after(handles):
        for batch in batches:
            model(batch)
            images += batch.shape[0]
    return {name: meter.energy(images) for name, meter in meters.items()}


def normalized(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores divided by their mean: the minimizer of eq. 5 is unchanged, lambda of eq. 6 means the same."""
    mean = sum(scores.values()) / max(1, len(scores))
    return {name: score / mean if mean > 0 else 1.0 for name, score in scores.items()}
