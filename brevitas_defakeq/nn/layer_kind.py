"""What quantization has to know of a kind of layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

L = TypeVar("L", bound=nn.Module)
#: Fixed zeros around an image: left, right, top, bottom.
Sides = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class LayerKind(Generic[L]):
    """One kind of layer: a product with ``weight`` [C_out, ...] and an optional ``bias`` [C_out].

    The callables take a layer of ``float_class`` or ``quantized_class``; ``inputs`` is the one tensor that
    the layer is called with, [N, ...].

    Attributes:
        name: as plans and reports write it.
        float_class: layers of this class are quantized; so are subclasses that compute the same.
        quantized_class: the Brevitas class of the quantized layer.
        functions: names of the torch functions that compute the product, as ``prepare.trace`` records them.
        channel_dim: dimension of the output that holds the channels.
        operation: (layer, inputs, weight, bias) -> output: the plain product with this weight and bias.
        build_quantized: (float layer, Brevitas' options) -> quantized layer of the same geometry, with
            weights of its own.
        sum_of_squares: (layer, inputs) -> [groups, K]: sum, over images and positions, of the squares of what
            each of the K elements of a channel's weight is multiplied by (A_j of eq. 2).
        windows: (layer, inputs) -> [groups, K, images * positions]: what each of the K elements of a
            channel's weight is multiplied by; None where it is not known: GPTQ leaves such layers at nearest.
        fuse_batch_norm: (weight, bias, mean, variance, eps, gain, shift) -> weight and bias with the
            BatchNorm in them.
        export_modules: name of the layer's export modules in every format, a key of
            ``ONNX_MODULES``, ``INTEGER_MODULES`` and ``QONNX_MODULES``.
        file_axis: axis of the output channels in a file's weight; 1 for a MatMul's [in, out].
        exchanged: (layer) -> groups, where a file has [C_in, C_out/groups, ...] and no runtime an integer
            kernel; None for all others.
        integer_bias: integer kernels add its bias in units of the products; otherwise it is added in float.
        integer_output: integer kernels write integers, so that its output needs a quantizer.
        same_padding: (layer, inputs) -> the zeros that a subclass which pads by itself may put around
            ``inputs``; None where no such subclass is known.
        with_padding: (float layer, sides) -> the layer with these fixed zeros in place of its own.
    """

    name: str
    float_class: type[L]
    quantized_class: type[nn.Module]
    functions: frozenset[str]
    channel_dim: int
    operation: Callable[[L, Tensor, Tensor, Tensor | None], Tensor]
    build_quantized: Callable[[L, Mapping[str, object]], nn.Module]
    sum_of_squares: Callable[[L, Tensor], Tensor]
    fuse_batch_norm: Callable[..., tuple[nn.Parameter, nn.Parameter]]
    export_modules: str
    windows: Callable[[L, Tensor], Tensor] | None = None
    file_axis: int = 0
    exchanged: Callable[[L], int] | None = None
    integer_bias: bool = True
    integer_output: bool = False
    same_padding: Callable[[L, Tensor], Sides] | None = None
    with_padding: Callable[[L, Sides], nn.Module] | None = None
