"""Learned rounding of one block (eqs. 7, 8 and 10 with the widths frozen)."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import FORWARD_BATCH, ReconstructionConfig, VEFTConfig
from brevitas_defakeq.nn.module_tree import restore_, snapshot
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_shared, range_parameters
from brevitas_defakeq.quant.coded_weight import CodedWeight, coded_weights
from brevitas_defakeq.reconstruct.activation_drop import dropped_activations
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.losses import (
    annealed_beta,
    block_loss,
    mean_over_images,
    relative_error,
    rounding_regularizer,
    target_variance,
)
from brevitas_defakeq.reconstruct.output_losses import output_loss
from brevitas_defakeq.reconstruct.rate_term import RateTerm, bits_of_layers
from brevitas_defakeq.reconstruct.untrainable import untrained_if_refused
from brevitas_defakeq.veft.masks import FloatChannels


def reconstruct_block_(task: BlockTask, config: ReconstructionConfig, veft: VEFTConfig) -> dict[str, float]:
    """Learn rounding, scales, biases and activation ranges of a block; keep them only if they help.

    Returns:
        error before and after on the held-out images, relative to the target's variance.
    """

    def learn(_: float) -> None:
        drop = dropped_activations(task.quantized, config.activation_drop, task.generator)
        with coded_weights(task.layers, learn_rounding=True) as coded, drop:
            _optimize(task, coded, config, veft)

    return _kept_if_better_(task, learn)


def _kept_if_better_(task: BlockTask, learn: Callable[[float], None]) -> dict[str, float]:
    """Train a block in place by ``learn``, which is given the target's variance; undo what does not help.

    What helps lowers the error or, with a rate, the error plus what the codes' bits cost.

    Returns:
        error before and after on the held-out images, relative to the target's variance.
    """
    variance = target_variance(task)
    before, saved = held_out_error(task, variance), snapshot(task.quantized)
    bits = bits_of_layers(task.layers) if task.bit_loss else 0.0
    with untrained_if_refused(task.quantized, saved, task.name):
        learn(variance)
    after = held_out_error(task, variance)
    saved_bits = bits - bits_of_layers(task.layers) if task.bit_loss else 0.0
    if not after < before + task.bit_loss * saved_bits:
        restore_(task.quantized, saved)
    return {"before": before, "after": after}


def _optimize(
    task: BlockTask,
    coded: Mapping[str, CodedWeight],
    config: ReconstructionConfig,
    veft: VEFTConfig,
) -> None:
    channels = FloatChannels(task.layers, coded, task.reference_layers)
    if veft.enabled and veft.masks == "fixed":
        channels.choose(veft.fraction)
    groups = _parameter_groups(task.quantized, coded, config)
    optimizer = torch.optim.Adam(groups)
    # The rate of V stays, because V still has to reach 0 or 1 at the end; the others decay.
    paces = [lambda step: 1.0] + [lambda step: _decay(step, config.iterations)] * (len(groups) - 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, paces)
    error = output_loss(task, config)
    rate = RateTerm(coded, task.bit_loss) if task.bit_loss else None
    for step in range(config.iterations):
        loss = block_loss(
            task, channels, task.draw_images(config.batch_size), config=config, veft=veft, loss=error,
            progress=step / config.iterations,
        )  # fmt: skip
        beta = annealed_beta(step, config)
        if beta is not None:
            regularizers = [rounding_regularizer(weight.soft_rounding(), beta) for weight in coded.values()]
            loss = loss + config.rounding_weight * sum(regularizers) / len(regularizers)
        if rate is not None:
            loss = loss + rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def _parameter_groups(
    block: nn.Module, coded: Mapping[str, CodedWeight], config: ReconstructionConfig
) -> list[dict]:
    """Adam groups: V; scales relative to themselves; biases, norms and ranges in units of their size."""
    groups = [
        {"params": [weight.rounding for weight in coded.values()], "lr": config.rounding_lr},
        {"params": [weight.gain for weight in coded.values()], "lr": config.scale_lr},
    ]
    return groups + affine_groups(block, config.scale_lr, whole=False)


def affine_groups(module: nn.Module, lr: float, *, whole: bool = True) -> list[dict]:
    """Adam groups of biases, norms and activation ranges.

    The rate of each tensor is ``lr`` times its root mean square, because Adam's steps have no units.

    Args:
        whole: ``module`` is the whole network; for a part, ranges shared with other parts are left out.
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


@torch.no_grad()
def held_out_error(task: BlockTask, variance: float) -> float:
    """Error of the block in M_q behind M_q's prefix, over the held-out images, relative to ``variance``."""

    def error(images: Tensor) -> Tensor:
        output = task.run(task.quantized_data.rows(task.quantized_data.inputs, images))
        return relative_error(output, task.target_rows(images), variance)

    return mean_over_images(error, task.held_out, FORWARD_BATCH)


def learn_activations_(task: BlockTask, config: ReconstructionConfig) -> dict[str, float]:
    """Learn activation ranges, biases and norms of a block with its weights in float; keep what helps.

    The first stage of GPLQ (arXiv 2506.11784), block by block. Our reading: its second stage goes on learning
    them beside the rounding; held fixed there they no longer fit the rounded weights.

    Returns:
        error before and after on the held-out images, relative to the target's variance.
    """

    def learn(variance: float) -> None:
        optimizer = torch.optim.Adam(affine_groups(task.quantized, config.scale_lr, whole=False))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _decay(step, config.iterations))
        for _ in range(config.iterations):
            images = task.draw_images(config.batch_size)
            output = task.run(task.input_rows(images, config.block_input))
            optimizer.zero_grad(set_to_none=True)
            relative_error(output, task.target_rows(images), variance).backward()
            optimizer.step()
            schedule.step()

    return _kept_if_better_(task, learn)
