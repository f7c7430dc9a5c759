"""From images to scores: what the variants of a detector compute, batch by batch, and all of it together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.evaluation.fidelity import FeatureNoise
from brevitas_defakeq.nn.module_tree import device_of, eval_mode
from brevitas_defakeq.progress import ProgressCallback
from brevitas_defakeq.quant.fused import fused_quantizers

#: Models of more parameters are not given copies of their rounded weights: they gain little time by it.
_COPIED_WEIGHTS = 100_000_000


@dataclass(frozen=True)
class BatchOutput:
    """Fake logits [n] of a batch, and features [n, C] (None for an exported file, which gives none)."""

    logits: np.ndarray
    features: np.ndarray | None = None


#: Variant -> its output for one batch.
Outputs = Mapping[str, BatchOutput]


@dataclass(frozen=True)
class Observed:
    """Fake logits [N] of a data set, and how far the features are from those of "float" (None if unknown)."""

    scores: np.ndarray
    noise: FeatureNoise | None = None


@torch.no_grad()
def model_outputs(
    models: Mapping[str, nn.Module], observer: Observer, batches: Iterable[Tensor]
) -> Iterator[Outputs]:
    """Run every model, in evaluation mode, on the same batches [n, 3, H, W]; each batch is read once."""
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(eval_mode(model))
            stack.enter_context(fused_quantizers(model, frozen=_is_small(model)))  # the same values
        for batch in batches:
            batch = batch.contiguous(memory_format=torch.channels_last)
            yield {name: _output(observer, model, batch) for name, model in models.items()}


def collect(outputs: Iterable[Outputs]) -> dict[str, Observed]:
    """All logits by variant; of the features only what fidelity needs."""
    scores: dict[str, list[np.ndarray]] = {}
    noise: dict[str, FeatureNoise] = {}
    for batch in outputs:
        reference = batch["float"].features if "float" in batch else None
        for name, output in batch.items():
            scores.setdefault(name, []).append(output.logits)
            if reference is not None and output.features is not None:
                noise.setdefault(name, FeatureNoise()).add(reference, output.features)
    return {name: Observed(np.concatenate(parts), noise.get(name)) for name, parts in scores.items()}


def observe_all(
    models: Mapping[str, nn.Module], observer: Observer, batches: Iterable[Tensor]
) -> dict[str, Observed]:
    """`model_outputs` and `collect`: the logits of every model on the same batches."""
    return collect(model_outputs(models, observer, batches))


def with_progress(outputs: Iterable[Outputs], total: int, on_progress: ProgressCallback) -> Iterator[Outputs]:
    """The same outputs; after each batch ``on_progress`` is called with ("score", images done, total)."""
    done = 0
    for batch in outputs:
        yield batch
        done += len(next(iter(batch.values())).logits)
        on_progress("score", done, total)


def _output(observer: Observer, model: nn.Module, batch: Tensor) -> BatchOutput:
    logits, features = observer(model, batch.to(device_of(model)))
    return BatchOutput(logits.cpu().numpy(), features.cpu().numpy())


def _is_small(model: nn.Module) -> bool:
    return sum(parameter.numel() for parameter in model.parameters()) < _COPIED_WEIGHTS
