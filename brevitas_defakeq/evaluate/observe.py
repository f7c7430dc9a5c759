"""What a detector says of images: the fake logit and the feature its head reads."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.feature import FeatureTap
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.evaluate.fidelity import FeatureNoise
from brevitas_defakeq.nn.module_tree import device_of
from brevitas_defakeq.quant.fused import fused_quantizers


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


_COPIED_WEIGHTS = 100_000_000
#: Form -> logits [n] and features [n, C] (None where they cannot be seen) of one batch.
Seen = Mapping[str, tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Observed:
    """Scores [N] of a data set, and how far the features are from the float form's (None if unseen)."""

    scores: np.ndarray
    noise: FeatureNoise | None = None


@torch.no_grad()
def look(models: Mapping[str, nn.Module], observer: Observer, batches: Iterable[Tensor]) -> Iterator[Seen]:
    """Every model on the same batches, one after the other; each batch is read once and let go."""
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(
                fused_quantizers(model, frozen=_is_small(model))
            )  # the same values, in half the time
        for batch in batches:
            batch = batch.contiguous(memory_format=torch.channels_last)
            yield {
                form: tuple(part.cpu().numpy() for part in observer(model, batch.to(device_of(model))))
                for form, model in models.items()
            }


def _is_small(model: nn.Module) -> bool:
    """Whether copies of the rounded weights are worth their memory; a large model gains little time."""
    return sum(parameter.numel() for parameter in model.parameters()) < _COPIED_WEIGHTS


def gather(
    seen: Iterable[Seen], keep: Callable[[Mapping[str, np.ndarray]], None] | None = None
) -> dict[str, Observed]:
    """All logits of a data set; of the features only what the fidelity needs.

    ``keep`` is called after each batch with the logits of every form.
    """
    scores: dict[str, list[np.ndarray]] = {}
    noise: dict[str, FeatureNoise] = {}
    for batch in seen:
        reference = batch["float"][1] if "float" in batch else None
        for form, (logits, features) in batch.items():
            scores.setdefault(form, []).append(logits)
            if reference is not None and features is not None:
                noise.setdefault(form, FeatureNoise()).add(reference, features)
        if keep is not None:
            keep({form: logits for form, (logits, _) in batch.items()})
    return {form: Observed(np.concatenate(parts), noise.get(form)) for form, parts in scores.items()}


def observe_all(
    models: Mapping[str, nn.Module], observer: Observer, batches: Iterable[Tensor]
) -> dict[str, Observed]:
    """What every model says of the same batches; features are held to those of "float", if it is there."""
    return gather(look(models, observer, batches))
