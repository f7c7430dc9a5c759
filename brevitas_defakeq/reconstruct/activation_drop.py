"""Activations that pass a quantizer as they are, drawn value by value in every step (QDrop, ICLR 2022)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.quant.activation_quantizer import activation_proxies


@contextmanager
def dropped_activations(block: nn.Module, probability: float, generator: torch.Generator) -> Iterator[None]:
    """Within the context each value in the block's quantizers stays in float with ``probability``."""
    quantizers = (
        proxy.fused_activation_quant_proxy.tensor_quant for proxy in activation_proxies(block).values()
    )
    hook = _drop(probability, generator)
    with removed_after([one.register_forward_hook(hook) for one in quantizers] if probability else []):
        yield


def _drop(probability: float, generator: torch.Generator) -> Callable[..., tuple[Tensor, ...]]:
    def hook(_: nn.Module, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        values, *grid = output
        drawn = torch.rand(values.shape, generator=generator).to(values.device)
        return torch.where(drawn < probability, inputs[0], values), *grid

    return hook
