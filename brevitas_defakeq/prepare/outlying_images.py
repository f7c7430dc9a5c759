"""Calibration images on which a network's activations are of another magnitude than on all others.

Ranges, matching and reconstruction minimize squared errors, of which one such image would have more than all
others together: an 8-bit range that covers it leaves the others a handful of codes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.nn.module_tree import removed_after

#: An image is left out where a layer's input has more than this many times the power of ``_SHARE`` of them:
#: ten times their magnitude. On detectors without such images the ratio was 2 to 18.
_FACTOR = 100.0
#: Of the images; where more are so large, it is the network's nature.
_SHARE = 0.95


@torch.no_grad()
def outlying_images(model: nn.Module, layers: Mapping[str, nn.Module], images: Tensor) -> dict[int, str]:
    """Index of each outlying image -> the first layer whose input is outlying, and how much.

    Args:
        model: the float network.
        layers: those that are quantized, by name.
        images: preprocessed, [N, 3, H, W].
    """
    powers: dict[str, list[Tensor]] = {name: [] for name in layers}

    def recorder(name: str, count: int) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple) -> None:
            if inputs[0].shape[0] % count == 0:  # windows of an image lie together
                each = inputs[0].detach().double().reshape(count, -1)
                powers[name].append(each.square().mean(dim=1).cpu())

        return hook

    for batch in images.split(FORWARD_BATCH):
        handles = [
            layer.register_forward_pre_hook(recorder(name, len(batch))) for name, layer in layers.items()
        ]
        with removed_after(handles):
            model(batch.clone())
    found: dict[int, str] = {}
    for name, parts in powers.items():
        power = torch.cat(parts) if parts else torch.zeros(0)
        if len(power) != len(images):  # called more or less than once
            continue
        usual = power.sort().values[int(_SHARE * (len(power) - 1))]
        for index in (power > _FACTOR * usual).nonzero().flatten().tolist():
            times = float((power[index] / usual.clamp_min(torch.finfo(power.dtype).tiny)).sqrt())
            found.setdefault(index, f"the input of {name} is {times:,.0f} times that of other images")
    return dict(sorted(found.items()))
