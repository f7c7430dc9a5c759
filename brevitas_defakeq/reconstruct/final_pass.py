"""The last pass: the whole network tuned together to the float model's output and feature, no labels.

Scales, biases, norms and activation ranges are learned; the codes stay, or are learned once more: each weight
then moves continuously and is rounded straight through. After learned rounding that did not help.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FinalPassConfig
from brevitas_defakeq.nn.module_tree import restore_, snapshot
from brevitas_defakeq.quant.coded_weight import coded_weights, read_codes
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.learned_rounding import affine_groups
from brevitas_defakeq.reconstruct.losses import mean_over_images, relative_error, variance_of
from brevitas_defakeq.reconstruct.untrainable import untrained_if_refused
from brevitas_defakeq.veft.contrastive import contrastive_loss

#: model and images -> (fake logit [N], feature [N, C])
Observe = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class Examples:
    """Images [M, 3, H, W], M_f's logits [M] and features [M, C], and the train and held-out indices."""

    images: Tensor
    logits: Tensor
    features: Tensor
    train: Tensor
    held_out: Tensor


def tune_network_(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    observe: Observe,
    examples: Examples,
    config: FinalPassConfig,
    *,
    generator: torch.Generator,
    temperature: float = 0.5,
    at_once: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Tune ``model`` in place to the mean of its later steps; it is left as it was if that is no better.

    Args:
        layers: the quantized layers, by name.
        temperature: tau of eq. 9, for ``loss="contrastive"``.
        at_once: images of a step's batch that go through the network together; None: all. Squared errors add
            up over such parts; eq. 9 compares all images, so its batches stay whole.

    Returns:
        held-out error (logit's plus feature's, each relative to its variance) before and after.
    """
    logit_variance, feature_variance = variance_of(examples.logits), variance_of(examples.features)
    contrastive = config.loss == "contrastive"

    def error(indices: Tensor, *, contrastive: bool = False) -> Tensor:
        logit, feature = observe(model, examples.images[indices])
        wanted = examples.features[indices]
        output = relative_error(logit, examples.logits[indices], logit_variance)
        if contrastive:
            return output + contrastive_loss(wanted, feature, wanted, temperature=temperature)
        return output + relative_error(feature, wanted, feature_variance)

    @torch.no_grad()
    def held_out_error() -> float:
        return mean_over_images(error, examples.held_out, config.batch_size)

    before, start = held_out_error(), snapshot(model)
    training = untrained_if_refused(model, start, "the whole network")
    with training, _learned_scales(layers, config) as groups:
        optimizer = torch.optim.Adam(groups + affine_groups(model, config.lr))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _ramp(step, config))
        learned = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        mean = [torch.zeros_like(tensor) for tensor in learned]
        batches = _epochs(examples.train, config.batch_size, generator)
        averaged = config.steps - config.steps // 2
        for step in range(config.steps):
            optimizer.zero_grad(set_to_none=True)
            batch = next(batches)
            for part in batch.split(len(batch) if contrastive else at_once or len(batch)):
                (error(part, contrastive=contrastive) * (len(part) / len(batch))).backward()
            optimizer.step()
            schedule.step()
            if step >= config.steps // 2:
                torch._foreach_add_(mean, [tensor.detach() for tensor in learned], alpha=1 / averaged)
            progress(1)
        with torch.no_grad():
            torch._foreach_copy_(learned, mean)
    after = held_out_error()
    if not after < before:
        restore_(model, start)
    return {"before": before, "after": min(before, after)}


@contextmanager
def _learned_scales(layers: Mapping[str, nn.Module], config: FinalPassConfig) -> Iterator[list[dict]]:
    """Adam groups of weights and scales: the weights rounded straight through, or the codes held fixed."""
    if config.rounding_lr == 0:
        with coded_weights(layers, learn_rounding=False) as coded:
            yield [{"params": [weight.gain for weight in coded.values()], "lr": config.lr}]
        return
    groups = []
    for layer in layers.values():
        scaling = weight_quantizer(layer).get_parameter("scaling_impl.value")
        step = float(read_codes(layer)[1].mean())  # of the grid
        groups.append({"params": [layer.weight], "lr": config.rounding_lr * step})
        groups.append({"params": [scaling], "lr": config.lr * float(scaling.detach().mean())})
    yield groups


def _epochs(indices: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of shuffled indices for ever; every image once before any twice."""
    order = torch.empty(0, dtype=torch.long)
    while True:
        while len(order) < size:
            order = torch.cat([order, indices[torch.randperm(len(indices), generator=generator)]])
        yield order[:size]
        order = order[size:]


def _ramp(step: int, config: FinalPassConfig) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    rising = max(1.0, config.warm_up * config.steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 1.0 - 0.9 * (step - rising) / max(1.0, config.steps - rising)
