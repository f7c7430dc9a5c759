"""Where the quantized detector looks, beside the float one."""

from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.saliency.map_agreement import agreement
from brevitas_defakeq.saliency.maps import saliency_maps
from brevitas_defakeq.utils.errors import UserError

#: Test images with maps, and how many of the fakes' maps a row keeps for the chart.
IMAGES, SHOWN = 64, 4


def compared_maps(
    reference: nn.Module, quantized: nn.Module, observer: Observer, test: LabelledSet
) -> dict[str, Any]:
    """Agreement of both detectors' maps (Pearson's correlation, -1 to 1), and some of the maps.

    Returns:
        JSON: ``method``, ``mean`` and ``lowest`` agreement, ``shown`` (indices of test images), and
        ``float`` and ``quantized``: maps [SHOWN, h, w] of these; or ``none`` with the reason.
    """
    images, shown = first_images(test), shown_images(test)
    try:
        before, after = (saliency_maps(model, images, observer=observer) for model in (reference, quantized))
    except UserError as error:
        return {"none": str(error)}
    each = agreement(before.maps, after.maps)
    return {
        "method": before.method, "mean": float(each.mean()), "lowest": float(each.min()), "shown": shown,
        "float": _rounded(before.maps[shown]), "quantized": _rounded(after.maps[shown]),
    }  # fmt: skip


def first_images(test: LabelledSet) -> Tensor:
    """The images [IMAGES, 3, H, W] that have maps."""
    batches, count = [], 0
    for batch in test.batches():
        batches.append(batch)
        count += len(batch)
        if count >= IMAGES:
            break
    return torch.cat(batches)[:IMAGES]


def shown_images(test: LabelledSet) -> list[int]:
    """Indices of the first fakes."""
    return [index for index, sample in enumerate(test.samples[:IMAGES]) if sample.label == 1][:SHOWN]


def _rounded(maps: Tensor) -> list:
    scale = maps.abs().amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    return [[[round(value, 3) for value in row] for row in one] for one in (maps / scale).tolist()]
