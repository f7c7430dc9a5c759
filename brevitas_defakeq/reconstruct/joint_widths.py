"""Eq. 10 as printed: relaxed widths learned with the block's reconstruction, budget and alignment at once.

The weights are rounded straight through at ``b̂``, and only the widths are kept. The rounding is learned
again after they are snapped, because a rounding learned at one width is wrong at another.
"""

from collections.abc import Mapping

import torch
from torch import nn

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.haq.relaxed import horizontal_loss
from brevitas_defakeq.nn.module_tree import device_of
from brevitas_defakeq.quant.bit_width import candidate_parameter, relaxed_bits
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.activation_drop import dropped_activations
from brevitas_defakeq.reconstruct.block_task import BlockTask
from brevitas_defakeq.reconstruct.losses import block_loss
from brevitas_defakeq.reconstruct.output_losses import output_loss
from brevitas_defakeq.veft.masks import FloatChannels


def learn_block_widths_(
    task: BlockTask,
    quantizers: Mapping[str, nn.Module],
    importance: Mapping[str, float],
    sizes: Mapping[str, int],
    config: DefakeQConfig,
) -> None:
    """Train the widths of one block's layers under ``L_rec + gamma_1 L_hor + gamma_2 L_ver``.

    The model's widths are relaxed (``quant.bit_width.relaxed``).

    Args:
        quantizers: every layer's weight quantizer: the budget is the whole network's.
        importance: S_l, mean 1.
        sizes: p_l.
    """
    work, names = config.reconstruction, list(quantizers)
    device = device_of(task.quantized)
    score = torch.tensor([importance[name] for name in names], device=device)
    size = torch.tensor([float(sizes[name]) for name in names], device=device)
    own = [
        candidate_parameter(weight_quantizer(layer)).get_parameter("bit_width_offset")
        for layer in task.layers.values()
    ]
    rounding = {name: weight_quantizer(layer) for name, layer in task.layers.items()}
    channels = FloatChannels(task.layers, rounding, task.reference_layers)
    optimizer = torch.optim.Adam(own, lr=work.width_lr)
    error = output_loss(task, work)
    with dropped_activations(task.quantized, work.activation_drop, task.generator):
        for step in range(work.iterations):
            images = task.draw_images(work.batch_size)
            loss = block_loss(
                task, channels, images, config=work, veft=config.veft, loss=error,
                progress=step / work.iterations,
            )  # fmt: skip
            bits = torch.stack([relaxed_bits(quantizers[name]) for name in names])
            horizontal, _ = horizontal_loss(
                bits, score, size, config.average_limit, error_base=config.haq.error_base,
                penalty=config.haq.penalty,
            )  # fmt: skip
            optimizer.zero_grad(set_to_none=True)
            (loss + work.horizontal_weight * horizontal).backward()
            optimizer.step()
    task.quantized.zero_grad(set_to_none=True)


def snapping_costs(
    learned: Mapping[str, float],
    importance: Mapping[str, float],
    candidate_bits: tuple[float, ...],
    base: float,
) -> dict[str, list[float]]:
    """Cost of a candidate against the learned width: ``S_l max(0, E(b) - E(b̂_l))``."""
    return {
        name: [importance[name] * max(0.0, base**-bits - base**-width) for bits in candidate_bits]
        for name, width in learned.items()
    }
