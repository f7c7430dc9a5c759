"""Learned rounding of one block (eqs. 7, 8 and 10 with the widths frozen)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import ReconstructionConfig, VEFTConfig
from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.nn.module_tree import restore_, snapshot
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_shared, range_parameters
from brevitas_defakeq.quant.coded_weight import CodedWeight, coded_weights
from brevitas_defakeq.reconstruct.capture import Captured
from brevitas_defakeq.veft.contrastive import combined_positive, contrastive_loss, other_class, pooled
from brevitas_defakeq.veft.masks import FloatChannels


@dataclass
class BlockTask:
    """One block to reconstruct: both forms of it, its data, and what may be drawn from.

    Attributes:
        quantized, reference: the block in M_q and in M_f.
        layers, reference_layers: its layers in each, same names, call order.
        quantized_data, reference_data: what each form reads; the latter with the target outputs.
        train, held_out: image indices.
        labels: 0/1 per image, or None.
        generator: the only source of randomness.
        to_feature: block output and images -> feature of the detector (alignment="detector").
    """

    name: str
    quantized: nn.Module
    reference: nn.Module
    layers: Mapping[str, nn.Module]
    reference_layers: Mapping[str, nn.Module]
    quantized_data: Captured
    reference_data: Captured
    train: Tensor
    held_out: Tensor
    labels: Tensor | None
    generator: torch.Generator
    to_feature: Callable[[Tensor, Tensor], Tensor] | None = None

    def run(self, rows: Tensor) -> Tensor:
        return self.quantized(rows, *self.quantized_data.rest, **self.quantized_data.options)


def rounding_regularizer(soft: Tensor, beta: float) -> Tensor:
    """``R(V) = sum 1 - |2 h(V) - 1|^beta`` (eq. 7), per square root of the number of elements."""
    return (1.0 - (2.0 * soft - 1.0).abs().pow(beta)).sum() / soft.numel() ** 0.5


def annealed_beta(step: int, config: ReconstructionConfig) -> float | None:
    """beta at ``step``, falling linearly; None during the warm-up, when R is off."""
    start = config.warm_up * config.iterations
    if step < start:
        return None
    share = (step - start) / max(1.0, config.iterations - start)
    return config.beta[0] + (config.beta[1] - config.beta[0]) * share


def reconstruct_block_(task: BlockTask, config: ReconstructionConfig, veft: VEFTConfig) -> dict[str, float]:
    """Learn rounding, scales, biases and activation ranges of a block; keep them only if they help.

    Returns:
        error before and after on the held-out images, relative to the target's variance.
    """
    variance = variance_of(task)
    before = _held_out_error(task, variance)
    saved = snapshot(task.quantized)
    with coded_weights(task.layers, learn_rounding=True) as coded:
        _optimize(task, coded, config, veft, variance)
    after = _held_out_error(task, variance)
    if not after < before:
        restore_(task.quantized, saved)
    return {"before": before, "after": after}


def _optimize(task: BlockTask, coded: dict[str, CodedWeight], config, veft, variance: float) -> None:
    channels = FloatChannels(task.layers, coded, task.reference_layers)
    if veft.enabled and veft.masks == "fixed":
        channels.choose(veft.fraction)
    groups = _parameter_groups(task.quantized, coded, config)
    optimizer = torch.optim.Adam(groups)
    # V keeps its pace, for it still has to reach 0 or 1 at the end; everything else settles.
    paces = [lambda step: 1.0] + [lambda step: _decay(step, config.iterations)] * (len(groups) - 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, paces)
    for step in range(config.iterations):
        images = draw_images(task.train, config.batch_size, task.generator)
        loss = block_loss(task, channels, images, config, veft, variance, step / config.iterations)
        beta = annealed_beta(step, config)
        if beta is not None:
            regularizers = [rounding_regularizer(weight.soft_rounding(), beta) for weight in coded.values()]
            loss = loss + config.rounding_weight * sum(regularizers) / len(regularizers)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def block_loss(
    task: BlockTask,
    channels: FloatChannels | None,
    images: Tensor,
    config: ReconstructionConfig,
    veft: VEFTConfig,
    variance: float,
    progress: float,
) -> Tensor:
    """L_rec, with VEFT on M_q^v and with ``gamma_2 L_ver`` (eqs. 7, 9, 10); R(V) is added by the caller.

    Args:
        channels: what VEFT restores; None reconstructs M_q alone.
        progress: t/T of eq. 9.
    """
    target = task.reference_data.rows(task.reference_data.outputs, images)
    rows = _block_input(task, images, config.block_input)
    if channels is None or not veft.enabled:
        return (task.run(rows) - target).square().mean() / variance
    return _veft_loss(task, channels, rows, target, images, veft, variance, progress)


def _veft_loss(
    task, channels, rows, target, images, veft: VEFTConfig, variance: float, progress: float
) -> Tensor:
    """L_rec on M_q^v plus gamma_2 L_ver between M_f, M_q and M_q^v (eq. 10)."""
    if veft.masks == "random":
        channels.draw(veft.fraction, task.generator)
    with channels.on():
        mixed = task.run(rows)
    loss = (mixed - target).square().mean() / variance
    if veft.contrastive_weight == 0:
        return loss
    plain = task.run(rows)
    anchor, first, second = (_feature(task, output, images) for output in (target, plain, mixed))
    positive = combined_positive(first, second, progress)
    negatives = first if veft.negatives == "quantized" else anchor
    labels = task.labels[images] if task.labels is not None and veft.negatives_by_label else None
    pull = contrastive_loss(
        anchor.detach(), positive, negatives, temperature=veft.temperature, allowed=other_class(labels)
    )
    return loss + veft.contrastive_weight * pull


def _feature(task: BlockTask, output: Tensor, images: Tensor) -> Tensor:
    if task.to_feature is not None:
        return task.to_feature(output, images)
    last = next(reversed(task.layers.values()))
    features = pooled(output, channel_dim(last))
    return features.reshape(len(images), -1, features.shape[-1]).mean(dim=1)


def _parameter_groups(block: nn.Module, coded: Mapping[str, CodedWeight], config) -> list[dict]:
    """Adam groups: V; scales relative to themselves; biases, norms and ranges in units of their size."""
    groups = [
        {"params": [weight.rounding for weight in coded.values()], "lr": config.rounding_lr},
        {"params": [weight.gain for weight in coded.values()], "lr": config.scale_lr},
    ]
    return groups + affine_groups(block, config.scale_lr, whole=False)


def affine_groups(module: nn.Module, lr: float, *, whole: bool = True) -> list[dict]:
    """Adam groups of what a forward pass adds and multiplies with: biases, norms, activation ranges.

    The step of each tensor is ``lr`` times its own root mean square: Adam's steps know no units.

    Args:
        whole: ``module`` is the whole network; a part leaves the steps alone that it may share with another.
    """
    tensors = [p for name, p in module.named_parameters() if is_affine(name, p)]
    for proxy in activation_proxies(module).values():
        tensors += range_parameters(proxy) if whole or not is_shared(proxy) else []
    unique = {id(tensor): tensor for tensor in tensors}.values()
    return [{"params": [tensor], "lr": lr * _size(tensor)} for tensor in unique]


def is_affine(name: str, parameter: nn.Parameter) -> bool:
    """Biases, norm weights and layer scales: one-dimensional, outside any quantizer."""
    return parameter.dim() == 1 and "_quant." not in name


def _size(tensor: Tensor) -> float:
    return max(float(tensor.detach().square().mean().sqrt()), 1e-3)


def _decay(step: int, steps: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / max(1, steps)))


def draw_images(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` different image indices."""
    return images[torch.randperm(len(images), generator=generator)[:count]]


def _block_input(task: BlockTask, images: Tensor, kind: str) -> Tensor:
    reference = task.reference_data.rows(task.reference_data.inputs, images)
    if kind == "float":
        return reference
    quantized = task.quantized_data.rows(task.quantized_data.inputs, images)
    if kind == "quantized":
        return quantized
    return torch.where(_coins_like(quantized, task.generator), quantized, reference)


def _coins_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """True or False with equal chance for every element of a dense tensor; eight from a 64-bit draw."""
    words = torch.empty(-(-tensor.numel() // 8), dtype=torch.int64).random_(generator=generator)
    coins = words.view(torch.uint8).bitwise_and_(1).view(torch.bool)
    return coins.as_strided(tensor.shape, tensor.stride()).to(tensor.device)


def variance_of(task: BlockTask) -> float:
    """Variance of the block's target output: what its errors are relative to."""
    return float(task.reference_data.outputs[task.train[:64]].var().clamp_min(1e-12))


@torch.no_grad()
def _held_out_error(task: BlockTask, variance: float) -> float:
    errors = []
    for images in task.held_out.split(16):
        output = task.run(task.quantized_data.rows(task.quantized_data.inputs, images))
        target = task.reference_data.rows(task.reference_data.outputs, images)
        errors.append(float((output - target).square().mean()) * len(images))
    return sum(errors) / max(1, len(task.held_out)) / variance
