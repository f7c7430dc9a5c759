"""Which convolutions hand their result to something that is not quantized: an addition, a smooth activation.

An integer convolution kernel writes integers. Where every reader quantizes what it reads (through a ReLU, a
clip or a padding at most), its quantizer serves; the others need one at their output (``target="mobile"``).
"""

from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import layer_kind_of, product_functions
from brevitas_defakeq.prepare.trace import Trace, tensors_in

#: Functions that a quantizer can be moved across: they only cut off, or add zeros.
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

    products = product_functions()
    read_in_float = {
        id(tensor)
        for operation in traced.operations
        if operation.name in products and operation.owner not in layers
        for tensor in tensors_in((operation.args, operation.options))
    }

    def closed(tensor: Tensor) -> bool:
        readers = set(traced.readers_of(tensor))
        result = clipped.get(id(tensor))
        if not readers or not readers <= _CLIPS | products or id(tensor) in read_in_float:
            return False
        return result is None or result is tensor or closed(result)

    return tuple(
        name
        for name in layers
        if layer_kind_of(modules[name]).integer_output
        and not all(closed(call.tensor()) for call in traced.calls[name])
    )
