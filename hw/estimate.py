"""The cost of one hardware layer by FINN's estimators.

`node_cost` estimates a node of a specialized graph; `matrix_cost` a convolution or linear layer given by its
shape, bit-width and folding, without a graph.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from hw.finn_quirks import quiet_finn, unestimated

if TYPE_CHECKING:
    from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
    from onnx import NodeProto
    from qonnx.core.modelwrapper import ModelWrapper

#: Resource -> FINN's name of it.
_RESOURCES = {"lut": "LUT", "bram18": "BRAM_18K", "dsp": "DSP", "uram": "URAM"}


@dataclass(frozen=True)
class LayerCost:
    """Estimates of one layer, without the FIFOs and width converters around it.

    Attributes:
        cycles: clock cycles per frame.
        lut, bram18, dsp, uram: resources; BRAM in blocks of 18 Kbit, URAM of 288 Kbit.
        weight_bits: bits of stored weights and thresholds.
        style: "rtl" or "hls".
        folding: FINN's parallelism attributes, as in {"PE": 4, "SIMD": 3}.
        unestimated: resources for which FINN has no estimator of this layer; their 0 is not an estimate.
    """

    cycles: int
    lut: int
    bram18: int
    dsp: int
    uram: int
    weight_bits: int
    style: str
    folding: dict[str, int]
    unestimated: tuple[str, ...]

    def to_dict(self) -> dict:
        return asdict(self) | {"unestimated": list(self.unestimated)}


@dataclass(frozen=True)
class MatrixLayer:
    """A convolution or linear layer as hardware computes it: a matrix-vector product, many times per frame.

    Attributes:
        inputs: length of one dot product, C_in x kernel height x kernel width.
        outputs: C_out.
        vectors: products per frame: output height x width, or number of tokens.
        input_bits, input_signed: type of the activations, including the bit that a zero point adds.
        kernel: (height, width) of a depthwise convolution, whose ``inputs`` is height x width; else None.
    """

    inputs: int
    outputs: int
    vectors: int
    input_bits: int
    input_signed: bool
    kernel: tuple[int, int] | None = None


def node_cost(node: "NodeProto", part: str) -> LayerCost:
    """Estimates of a node of a specialized FINN graph on a device (its part name)."""
    from qonnx.custom_op.registry import getCustomOp

    layer = getCustomOp(node)
    found = layer.node_res_estimation(part)
    return LayerCost(
        cycles=int(layer.get_exp_cycles()),
        weight_bits=stored_bits(layer),
        style=node.op_type.rpartition("_")[2],
        folding=folding_of(layer),
        unestimated=unestimated(layer, part),
        **{name: int(found[key]) for name, key in _RESOURCES.items()},
    )


def totals(nodes: "Iterable[NodeProto]", part: str) -> dict[str, int]:
    """Summed resources of nodes of a specialized graph; nodes without an implementation yet count as 0."""
    costs = [node_cost(node, part) for node in nodes if node.op_type.endswith(("_hls", "_rtl"))]
    return {name: sum(getattr(cost, name) for cost in costs) for name in _RESOURCES}


def folding_of(layer: "HWCustomOp") -> dict[str, int]:
    """The layer's parallelism attributes, as in {"PE": 4, "SIMD": 3}."""
    known = layer.get_nodeattr_types()
    return {
        name: int(layer.get_nodeattr(name)) for name in ("PE", "SIMD", "parallel_window") if name in known
    }


def stored_bits(layer: "HWCustomOp") -> int:
    """Bits of the weights and thresholds that a layer stores on the device."""
    kind, get = layer.onnx_node.op_type, layer.get_nodeattr
    if kind.startswith("MVAU"):
        return int(get("MW")) * int(get("MH")) * layer.get_input_datatype(1).bitwidth()
    if kind.startswith("VVAU"):
        kernel = get("Kernel")
        return int(get("Channels")) * int(kernel[0]) * int(kernel[1]) * layer.get_input_datatype(1).bitwidth()
    if kind.startswith("Thresholding"):
        return int(get("NumChannels")) * int(get("numSteps")) * layer.get_input_datatype(1).bitwidth()
    return 0


def matrix_cost(
    matrix: MatrixLayer, weight_bits: int, part: str, *, folding: tuple[int, int] | None = None,
    cycles: int | None = None, style: str = "",
) -> LayerCost:  # fmt: skip
    """Estimates of a layer at a width of its weights.

    Args:
        weight_bits: signed, narrow range; 2 or more.
        folding: (PE, SIMD): outputs and inputs computed at once; divisors of ``outputs`` and ``inputs``.
        cycles: instead of ``folding``: the smallest folding within so many cycles a frame, else the fastest.
        style: "rtl" or "hls"; by default what FINN picks for these widths on this device.

    A layer that is neither folded nor given cycles computes one product at a time.
    """
    with quiet_finn():
        graph = _specialized(matrix, weight_bits, part, style)
        if cycles is not None:
            from hw.folding import fold_

            fold_(graph, cycles)
        node = graph.graph.node[-1]
        if folding is not None:
            from qonnx.custom_op.registry import getCustomOp

            for name, value in zip(("PE", "SIMD"), folding, strict=True):
                getCustomOp(node).set_nodeattr(name, value)
        return node_cost(node, part)


@lru_cache(maxsize=1024)
def _bytes_specialized(matrix: MatrixLayer, weight_bits: int, part: str, style: str) -> bytes:
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.custom_op.registry import getCustomOp

    from hw.matrix_graph import matrix_graph

    graph = matrix_graph(matrix, weight_bits, style).transform(SpecializeLayers(part), make_deepcopy=False)
    getCustomOp(graph.graph.node[-1]).minimize_accumulator_width(graph, datatype_only=True)
    return graph.model.SerializeToString()


def _specialized(matrix: MatrixLayer, weight_bits: int, part: str, style: str) -> "ModelWrapper":
    """A graph of the layer alone, with its window generator if it is depthwise."""
    from onnx import ModelProto
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(ModelProto.FromString(_bytes_specialized(matrix, weight_bits, part, style)))
