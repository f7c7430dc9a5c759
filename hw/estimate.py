"""What one hardware layer costs, by FINN's own functions of its nodes.

`node_cost` asks a node of a specialized graph; `matrix_cost` a layer that needs no graph: a convolution or a
linear layer of some shape, at some width and rate. Both ask the same functions.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache

from hw.finn_quirks import quiet_finn, unestimated

#: FINN's names of the resources.
_RESOURCES = {"lut": "LUT", "bram18": "BRAM_18K", "dsp": "DSP", "uram": "URAM"}


@dataclass(frozen=True)
class LayerCost:
    """Estimates of one layer, without the FIFOs and width converters around it.

    Attributes:
        cycles: clock cycles a frame.
        lut, bram18, dsp, uram: resources.
        weight_bits: bits of stored weights and thresholds.
        style: "rtl" or "hls".
        folding: FINN's parallelism attributes, as in {"PE": 4, "SIMD": 3}.
        unestimated: resources for which FINN has no estimator of this layer, so that their 0 means nothing.
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
    """A convolution or linear layer as the hardware sees it: a matrix times a vector, many times a frame.

    Attributes:
        inputs: values in one dot product: channels in x kernel height x kernel width (1 for linear layers).
        outputs: channels out.
        vectors: products a frame: output height x width, or tokens.
        input_bits, input_signed: the activations, zero point folded in (one bit more where there was one).
        kernel: (height, width) of a depthwise convolution, with ``inputs`` height x width; else None.
    """

    inputs: int
    outputs: int
    vectors: int
    input_bits: int
    input_signed: bool
    kernel: tuple[int, int] | None = None


def node_cost(node, part: str) -> LayerCost:
    """Estimates of a node of a specialized FINN graph (NodeProto) on a device."""
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


def totals(nodes: Iterable, part: str) -> dict[str, int]:
    """Resources of nodes of a specialized graph together; transposes that are none yet count nothing."""
    costs = [node_cost(node, part) for node in nodes if node.op_type.endswith(("_hls", "_rtl"))]
    return {name: sum(getattr(cost, name) for cost in costs) for name in _RESOURCES}


def folding_of(layer) -> dict[str, int]:
    """The parallelism that a layer has attributes for, as in {"PE": 4, "SIMD": 3}."""
    known = layer.get_nodeattr_types()
    return {
        name: int(layer.get_nodeattr(name)) for name in ("PE", "SIMD", "parallel_window") if name in known
    }


def stored_bits(layer) -> int:
    """Bits of the weights and thresholds that a layer keeps on the device."""
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


def _specialized(matrix: MatrixLayer, weight_bits: int, part: str, style: str):
    """The layer's graph of its own: its window generator where it is depthwise, and the product."""
    from onnx import ModelProto
    from qonnx.core.modelwrapper import ModelWrapper

    return ModelWrapper(ModelProto.FromString(_bytes_specialized(matrix, weight_bits, part, style)))
