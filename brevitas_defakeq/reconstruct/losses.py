"""Losses of the reconstruction (eqs. 7, 9 and 10), and the error that they and the last pass share."""

from collections.abc import Callable

from torch import Tensor

from brevitas_defakeq.config import ReconstructionConfig, VEFTConfig
from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.veft.contrastive import combined_positive, contrastive_loss, other_class, pooled
from brevitas_defakeq.veft.masks import FloatChannels

#: Output of a block, its target, and the images that they are of -> the error, a scalar.
OutputLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def relative_error(output: Tensor, target: Tensor, variance: float) -> Tensor:
    """Mean squared error relative to the target's variance, a scalar.

    >>> import torch
    >>> relative_error(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]), variance=2.0)
    tensor(1.2500)
    """
    return (output - target).square().mean() / variance


def variance_of(target: Tensor) -> float:
    """The variance that errors on ``target`` are relative to; never 0."""
    return float(target.var().clamp_min(1e-12))


def target_variance(task: BlockTask) -> float:
    """Variance of a block's target output, over at most 64 training images."""
    return variance_of(task.reference_data.targets[task.train[:64]])


def mean_over_images(error: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> float:
    """Mean of ``error(indices)`` over image indices [M], M >= 1, batch by batch."""
    return sum(float(error(part)) * len(part) for part in images.split(batch_size)) / len(images)


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


def block_loss(
    task: BlockTask,
    channels: FloatChannels,
    images: Tensor,
    *,
    config: ReconstructionConfig,
    veft: VEFTConfig,
    loss: OutputLoss,
    progress: float,
) -> Tensor:
    """L_rec of M_q, or with VEFT ``L_rec + gamma_2 L_ver`` of M_q^v (eqs. 7, 9, 10); without R(V).

    Args:
        channels: the output channels that VEFT restores.
        images: indices of the images, [N].
        loss: L_rec of an output.
        progress: t/T of eq. 9.
    """
    target = task.target_rows(images)
    rows = task.input_rows(images, config.block_input)
    if not veft.enabled:
        return loss(task.run(rows), target, images)
    if veft.masks == "random":
        channels.draw(veft.fraction, task.generator)
    with channels.on():
        mixed = task.run(rows)
    error = loss(mixed, target, images)
    if veft.contrastive_weight == 0:
        return error
    outputs = (target, task.run(rows), mixed)
    return error + veft.contrastive_weight * _alignment_loss(task, outputs, images, veft, progress)


def _alignment_loss(
    task: BlockTask,
    outputs: tuple[Tensor, Tensor, Tensor],
    images: Tensor,
    veft: VEFTConfig,
    progress: float,
) -> Tensor:
    """L_ver between the block outputs of M_f, M_q and M_q^v (eq. 9)."""
    anchor, first, second = (_feature(task, output, images, veft) for output in outputs)
    positive = combined_positive(first, second, progress)
    negatives = first if veft.negatives == "quantized" else anchor
    labels = task.labels[images] if task.labels is not None and veft.negatives_by_label else None
    return contrastive_loss(
        anchor.detach(), positive, negatives, temperature=veft.temperature, allowed=other_class(labels)
    )


def _feature(task: BlockTask, output: Tensor, images: Tensor, veft: VEFTConfig) -> Tensor:
    """Feature that eq. 9 compares, [N, C]."""
    if veft.alignment == "detector":
        return task.observe(output, images)[1]
    last = list(task.layers.values())[-1]
    features = pooled(output, channel_dim(last))
    return features.reshape(len(images), -1, features.shape[-1]).mean(dim=1)
