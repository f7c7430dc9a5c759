"""Which convolutions hand their result to something that is not quantized: an addition, a smooth activation.

An integer convolution kernel writes integers. Where every reader quantizes what it reads (through a ReLU, a
clip or a padding at most), its quantizer serves; the others need one at their output (``target="mobile"``).
"""

from collections.abc import Iterable

from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import layer_kind_of, product_functions
from brevitas_defakeq.prepare.trace import Operation, Trace

#: Functions that a quantizer can be moved across: they only cut off, or add zeros (``_copies_values``).
_CLIPS = {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "pad", "dropout"}
_CLIP_MODULES = (nn.ReLU, nn.ReLU6, nn.Hardtanh)


def open_outputs(modules: dict[str, nn.Module], traced: Trace, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the convolutions whose result some reader takes as it is."""
    clipped = {
        id(call.inputs[0]): call.tensor()
        for name, calls in traced.calls.items()
        if isinstance(modules[name], _CLIP_MODULES)
        for call in calls
    }

    copied = {
        value for operation in traced.operations if _copies_values(operation) for value, _ in operation.inputs
    }
    products = product_functions()

    def closed(tensor: Tensor) -> bool:
        readers = set(traced.readers_of(tensor))
        if id(tensor) in copied:
            return False
        result = clipped.get(id(tensor))
        if not readers or not readers <= _CLIPS | products:
            return False
        return result is None or result is tensor or closed(result)

    return tuple(
        name
        for name in layers
        if layer_kind_of(modules[name]).integer_output
        and not all(closed(call.tensor()) for call in traced.calls[name])
    )


def paddings_of_values(model: nn.Module, layers: Iterable[str]) -> dict[str, str]:
    """Layers that pad with values of their input, as no FPGA does -> "reflect", "replicate" or "circular"."""
    modes = {name: getattr(model.get_submodule(name), "padding_mode", "zeros") for name in layers}
    return {name: mode for name, mode in modes.items() if mode != "zeros"}


def _copies_values(operation: Operation) -> bool:
    """Whether it is a padding with values of its input, which integer kernels do not do."""
    given = dict(zip(("input", "pad", "mode"), operation.args, strict=False)) | operation.options
    return operation.name == "pad" and given.get("mode", "constant") != "constant"
