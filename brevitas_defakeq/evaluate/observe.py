"""What a detector says of images: the fake logit and the feature its head reads."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.feature import FeatureTap
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.nn.modules import device_of
from brevitas_defakeq.quant.quick import quick


@dataclass(frozen=True)
class Observer:
    """Reads one detector and every quantized form of it in the same way.

    Attributes:
        output: how to read the fake logit.
        path, side: where the feature is tapped.
    """

    output: OutputSpec
    path: str
    side: str

    def __call__(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Fake logit [N] and feature [N, C] of images [N, 3, H, W]; gradients flow."""
        with FeatureTap(model, self.path, self.side) as tap:
            raw = model(images)
        return self.output.fake_logit(raw), tap.value

    def logit(self, raw: object) -> Tensor:
        return self.output.fake_logit(raw)


@dataclass(frozen=True)
class Observed:
    """Scores [N] and features [N, C] of a data set."""

    scores: np.ndarray
    features: np.ndarray


@torch.no_grad()
def observe_all(
    models: Mapping[str, nn.Module], observer: Observer, batches: Iterable[Tensor]
) -> dict[str, Observed]:
    """Every model on the same batches; each batch is read once."""
    scores: dict[str, list[Tensor]] = {name: [] for name in models}
    features: dict[str, list[Tensor]] = {name: [] for name in models}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(quick(model, frozen=True))  # the same values, in half the time
        for batch in batches:
            batch = batch.contiguous(memory_format=torch.channels_last)
            for name, model in models.items():
                logit, feature = observer(model, batch.to(device_of(model)))
                scores[name].append(logit.cpu())
                features[name].append(feature.cpu())
    return {
        name: Observed(torch.cat(scores[name]).numpy(), torch.cat(features[name]).numpy()) for name in models
    }
