"""Which dimension of a module's input counts images: found by a second forward pass on twice the images."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import find_layer_kind
from brevitas_defakeq.nn.module_tree import eval_mode, modules_by_name, removed_after
from brevitas_defakeq.prepare.trace import Trace, refused_if_it_fails

#: Module -> the dimension of its one input and one output that counts images; None where neither or only
#: one has any, such as a layer that reads learned tokens.
ImageDimensions = Mapping[str, int | None]


@torch.no_grad()
def image_dimensions(model: nn.Module, traced: Trace, images: Tensor) -> ImageDimensions:
    """For every module whose calls take and return a tensor; ``traced`` saw ``images`` [N, 3, H, W]."""
    found: dict[str, list[tuple]] = {}
    modules = modules_by_name(model)

    def note(name: str, inputs: tuple, output: object) -> None:
        found.setdefault(name, []).append(_shapes(inputs, output))

    handles = [
        module.register_forward_hook(lambda _, inputs, output, name=name: note(name, inputs, output))
        for name, module in modules.items()
    ]
    twice = torch.cat([images, images])
    with removed_after(handles), eval_mode(model), refused_if_it_fails(twice):
        model(twice)
    result: dict[str, int | None] = {}
    for name, calls in traced.calls.items():
        once = [_shapes(call.inputs, call.output) for call in calls]
        if len(found.get(name, ())) == len(once):
            dims = {_doubled(*pair) for pair in zip(once, found[name], strict=True)}
            result[name] = dims.pop() if len(dims) == 1 else None
    return result


def apart_from_images(model: nn.Module, dims: ImageDimensions) -> dict[str, str]:
    """The layers that no image reaches, with the reason to leave them in float."""
    modules = modules_by_name(model)
    return {
        name: "its input has no image dimension"
        for name, dim in dims.items()
        if dim is None and find_layer_kind(modules[name])
    }


def _shapes(inputs: tuple, output: object) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first = inputs[0] if inputs else None
    before, after = (tuple(value.shape) if isinstance(value, Tensor) else () for value in (first, output))
    return before, after


def _doubled(once: tuple, twice: tuple) -> int | None:
    """The first dimension that doubled in the input, if it did in the output too."""
    if any(len(small) != len(large) for small, large in zip(once, twice, strict=True)):
        return None
    found = [
        [dim for dim, size in enumerate(small) if large[dim] == 2 * size and size]
        for small, large in zip(once, twice, strict=True)
    ]
    common = [dim for dim in found[0] if dim in found[1]]
    return common[0] if common else None
