"""What the methods weigh a layer's errors by: its inputs on calibration images, and the logit's gradient."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.nn.static_padding import padded

#: Calibration images for gradients.
GRADIENT_IMAGES = 64
#: Model's output -> fake logit [N].
Logit = Callable[[object], Tensor]


def is_matrix(layer: nn.Module) -> bool:
    """Whether the layer multiplies by one matrix: a Linear, or a Conv2d with one group."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def matrix_rows(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer's matrix [C_out, K] is multiplied by: [positions, K]."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1])
    assert isinstance(layer, nn.Conv2d)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    inputs = F.pad(padded(layer, inputs), layer._reversed_padding_repeated_twice, mode=mode)
    windows = F.unfold(inputs, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    return windows.transpose(1, 2).flatten(0, 1)


@torch.no_grad()
def second_moments(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Sequence[Tensor]
) -> dict[str, Tensor]:
    """``sum x x^T`` over positions, mean over images, [K, K] float64, of each layer with ``is_matrix``."""
    sums: dict[str, Tensor] = {}

    def add(name: str, layer: nn.Module, inputs: tuple) -> None:
        rows = matrix_rows(layer, inputs[0].detach())
        sums[name] = sums.get(name, 0.0) + (rows.T @ rows).double()

    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs, name=name: add(name, layer, inputs))
        for name, layer in layers.items()
        if is_matrix(layer)
    ]
    with removed_after(handles):
        for batch in batches:
            model(batch)
    images = sum(map(len, batches))
    return {name: total / images for name, total in sums.items()}


def output_sensitivities(
    model: nn.Module, layers: Mapping[str, nn.Module], images: Tensor, logit: Logit, batch: int
) -> dict[str, float]:
    """Mean of ``(dz/dy)^2`` over images and elements of each layer's output y; z is the fake logit.

    Times the squared error of y, summed over its elements, it is the expected square of the logit's change if
    the errors are independent: the unit in which layers compare.
    """
    sums = dict.fromkeys(layers, 0.0)

    def watch(name: str, output: Tensor) -> None:
        def add(gradient: Tensor) -> None:
            sums[name] += float(gradient.double().square().mean()) * images_now

        output.register_hook(add)

    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: watch(name, output))
        for name, layer in layers.items()
    ]
    with removed_after(handles), torch.enable_grad():
        for part in images[:GRADIENT_IMAGES].split(batch):
            images_now = len(part)
            logit(model(part.clone().requires_grad_())).sum().backward()
    model.zero_grad(set_to_none=True)
    return {name: total / len(images[:GRADIENT_IMAGES]) for name, total in sums.items()}
