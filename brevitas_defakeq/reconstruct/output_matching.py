"""Ranges and matching of one block, in one pass, each layer behind the layers before it.

Activation ranges are fitted on the quantized prefix; then each layer's output is matched to the float layer's
per channel, in mean and spread or by regression, folded into the weight's scale and the bias: no extra bytes.
Mean and spread alone lifted uniform 3 bits from AUC .56 to .83 on the first real detector.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.prepare.calibrate import ActivationSample, fit_range_
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_shared
from brevitas_defakeq.quant.matching import MatchingTarget
from brevitas_defakeq.quant.moments import along_channels
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.reconstruct.capture import Captured


@torch.no_grad()
def float_targets(
    kind: type[MatchingTarget],
    block: nn.Module,
    layers: Mapping[str, nn.Module],
    captured: Captured,
    images: Tensor,
    chunk: int,
) -> dict[str, MatchingTarget]:
    """What every layer's output is matched to: its outputs in the float block with its float inputs."""
    targets = {name: kind() for name in layers}
    handles = [
        layer.register_forward_hook(
            lambda _, __, output, name=name, layer=layer: targets[name].add(output, channel_dim(layer))
        )
        for name, layer in layers.items()
    ]
    with removed_after(handles):
        for part in images.split(chunk):
            captured.run(block, captured.rows(captured.inputs, part))
    return targets


@torch.no_grad()
def fold_affine_(layer: nn.Module, gain: Tensor, shift: Tensor) -> None:
    """Fold ``gain * output + shift`` per output channel into the weight's scale and the bias; codes stay.

    Weight and scale are multiplied by the same factor, which keeps each weight's position between two codes:
    learned rounding starts from it.
    """
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    per_channel = gain.view(-1, *[1] * (weight.dim() - 1))
    weight.mul_(per_channel)
    weight_quantizer(layer).get_parameter("scaling_impl.value").mul_(per_channel)
    bias.copy_(bias * gain + shift)


@torch.no_grad()
def prepare_block_(
    block: nn.Module,
    layers: Mapping[str, nn.Module],
    captured: Captured,
    images: Tensor,
    targets: Mapping[str, MatchingTarget] | None,
    *,
    ranges: bool = True,
) -> None:
    """One pass over ``images`` at once: fit each range if told to, then match each layer (if ``targets``)."""
    with _fitting_ranges(block) if ranges else nullcontext(), _matching(layers, targets or {}):
        captured.run(block, captured.rows(captured.inputs, images))


@contextmanager
def _fitting_ranges(block: nn.Module) -> Iterator[None]:
    """Fit every range of the block but shared ones, which may belong to another block too."""

    def fit(proxy: nn.Module, inputs: tuple) -> None:
        sample = ActivationSample(batches=1)
        sample.add(inputs[0])
        fit_range_([proxy], [sample])

    proxies = [proxy for proxy in activation_proxies(block).values() if not is_shared(proxy)]
    handles = [proxy.register_forward_pre_hook(fit) for proxy in proxies]
    with removed_after(handles):
        yield


@contextmanager
def _matching(layers: Mapping[str, nn.Module], targets: Mapping[str, MatchingTarget]) -> Iterator[None]:
    def match(target: MatchingTarget) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, _: object, output: Tensor) -> Tensor:
            dim = channel_dim(layer)
            gain, shift = target.affine(output, dim)
            fold_affine_(layer, gain, shift)
            return output * along_channels(gain, output, dim) + along_channels(shift, output, dim)

        return hook

    handles = [layers[name].register_forward_hook(match(target)) for name, target in targets.items()]
    with removed_after(handles):
        yield


@torch.no_grad()
def peak_bytes_per_image(block: nn.Module, captured: Captured) -> int:
    """Rough memory of one image's activations inside a block, in bytes."""
    total = 0

    def note(_: nn.Module, __: object, output: object) -> None:
        nonlocal total
        total += output.numel() * output.element_size() if isinstance(output, Tensor) else 0

    handles = [module.register_forward_hook(note) for module in block.modules()]
    with removed_after(handles):
        captured.run(block, captured.rows(captured.inputs, torch.tensor([0])))
    return 3 * max(total, 1)
