"""Estimates for a run before it starts: size of the file, image passes and time."""

from time import perf_counter

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.prepare.plan import Plan

#: Seconds of a quantized image pass over those of a float one, and of fitting ranges per million weights.
_OVERHEAD = 2.5
_RANGE_SECONDS = 0.6


def expected_size(plan: Plan, average_bits: float, model: nn.Module) -> int:
    """Bytes of ``weights.safetensors`` at an average width: codes, and what else the prepared model holds.

    Vectors are kept at half precision, embeddings at 8 bits, other weights in float.
    """
    inside = {f"{layer.name}.{part}" for layer in plan.layers for part in ("weight", "bias")}
    other_bytes = sum(
        tensor.numel()
        * (2 if tensor.numel() == max([*tensor.shape, 1]) else 1 if name in plan.embeddings else 4)
        for name, tensor in model.named_parameters()
        if name not in inside
    )
    weights = sum(layer.num_params for layer in plan.layers)
    channels = sum(layer.weight_shape[0] for layer in plan.layers)
    per_channel = 2 + 2 + average_bits / 8
    return int(weights * average_bits / 8 + channels * per_channel + other_bytes + 1000)


def expected_passes(plan: Plan, config: DefakeQConfig, images: int) -> float:
    """Compute of a run in float passes over the calibration images (``forward_passes`` of the report)."""
    macs = {layer.name: layer.macs for layer in plan.layers}
    total = max(1, sum(macs.values()))
    shares = [sum(macs[name] for name in block.layers) / total for block in plan.blocks]
    prefix = sum(2 * sum(shares[:index]) + share for index, share in enumerate(shares))
    work = config.reconstruction
    iterations = work.iterations * work.learned_rounding
    forwards = 2 if config.veft.enabled and config.veft.contrastive_weight else 1
    rounding = 3 * forwards * iterations * work.batch_size / images
    rounding += 3 * work.activations_first * work.iterations * work.batch_size / images
    tuning = 3 * config.final.steps * config.final.batch_size / images
    return 3 + prefix + rounding + tuning


@torch.no_grad()
def seconds_per_image(model: nn.Module, example: Tensor) -> float:
    """Measured time of one float image pass on this machine."""
    batch = example.expand(4, *example.shape[1:]).contiguous(memory_format=torch.channels_last)
    model(batch)
    start = perf_counter()
    model(batch)
    return (perf_counter() - start) / len(batch)


def expected_seconds(plan: Plan, config: DefakeQConfig, images: int, per_image: float) -> float:
    """Wall-clock time of a run on this machine, within a factor of about two."""
    weights = sum(layer.num_params for layer in plan.layers) / 1e6
    compute = expected_passes(plan, config, images) * images * per_image * _OVERHEAD
    return compute + 3 * _RANGE_SECONDS * weights
