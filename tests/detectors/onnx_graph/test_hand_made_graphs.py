"""Graphs of odd but allowed forms compute what onnxruntime does, or are refused by the operator's name."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_files import SIZE, graph_of

from brevitas_defakeq.detectors.onnx_graph.import_graph import import_graph
from brevitas_defakeq.nn.graph_network import GraphAttention, GraphNetwork
from brevitas_defakeq.utils.errors import UserError

node = helper.make_node
GENERATOR = np.random.default_rng(0)


def array(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


WEIGHTS = {
    "kernel": array(4, 3, 3, 3), "shift": array(4), "matrix": array(4, 2), "zero": np.array([0]),
    "one": np.array([1]), "sides": np.array([2, 3]), "half": np.float32([0.5]), "batchless": np.array([1, 4]),
}  # fmt: skip
#: A batch of one image.
ONE = (1, 3, SIZE, SIZE)
CONV = node("Conv", ["pixels", "kernel", "shift"], ["maps"], pads=[1, 1, 1, 1], strides=[2, 2])
POOL = node("GlobalAveragePool", ["maps"], ["pooled"])
FLAT = node("Flatten", ["pooled"], ["features"])
HEAD = node("MatMul", ["features", "matrix"], ["scores"])


def model_of(*nodes, opset=17, **options):
    return graph_of([*nodes], WEIGHTS | options.pop("weights", {}), opset=opset, **options)


def imported(model, folder, **options):
    onnx.save(model, folder / "a.onnx")
    return import_graph(folder / "a.onnx", **options)


def require_same(model, folder, *, size=(SIZE, SIZE)):
    """Import the model, compare it with onnxruntime to 2e-5 of the spread, and return the network."""
    found = imported(model, folder, size=None if isinstance(_side(model), int) else size)
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    name = session.get_inputs()[0].name
    network = found.program.network()
    with torch.no_grad():
        raw = network(images)
    values = [*raw.values()] if isinstance(raw, dict) else [raw]
    finals = {"Softmax": lambda x: x.softmax(-1), "Sigmoid": torch.sigmoid, "": lambda x: x}
    values = [
        finals[output.final](value) for output, value in zip(found.interface.outputs, values, strict=True)
    ]
    batches = images.split(1 if found.interface.fixed_batch else 3)
    wanted = zip(*(session.run(None, {name: batch.numpy()}) for batch in batches), strict=True)
    for value, parts in zip(values, wanted, strict=True):
        together = np.concatenate([part.reshape(len(batches[0]), -1) for part in parts])
        spread = float(together.std())
        np.testing.assert_allclose(value.reshape(3, -1).numpy(), together, rtol=0, atol=2e-5 * spread)
    return network


def _side(model):
    dim = model.graph.input[0].type.tensor_type.shape.dim[2]
    return dim.dim_param or dim.dim_value


# ------------------------------------------------------------------------------------------------ branches


def branch(name, nodes, weights=()):
    """A subgraph whose last node makes its one output."""
    result = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(values, key) for key, values in dict(weights).items()]
    return helper.make_graph(nodes, name, [], [result], held)


def choice(condition, then, other, result="features", name="choice"):
    return node("If", [condition], [result], name=name, then_branch=then, else_branch=other)


#: torch's dynamic squeeze: remove the last axis if its length is 1.
LENGTH = [
    node("Shape", ["pooled"], ["shape"]), node("Gather", ["shape", "last"], ["side"], axis=0),
    node("Equal", ["side", "one"], ["single"]),
]  # fmt: skip
SQUEEZE = branch("then", [node("Squeeze", ["pooled", "sides"], ["short"])])
KEEP = branch("else", [node("Identity", ["pooled"], ["short"])])


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_branch_whose_condition_is_a_shape(opset, tmp_path):
    graph = model_of(
        CONV, POOL, *LENGTH, choice("single", SQUEEZE, KEEP), HEAD, weights={"last": np.array([-1])},
        opset=opset,
    )  # fmt: skip
    network = require_same(graph, tmp_path)
    assert isinstance(network.get_submodule("matrix"), torch.nn.Linear)


def test_nested_branches_with_names_used_twice(tmp_path):
    """Siblings may give the same names; weights of a branch are its own; outer names are read."""
    inner = choice(
        "single", branch("a", [node("Mul", ["short", "factor"], ["deep"])], {"factor": np.float32([3])}),
        branch("b", [node("Neg", ["short"], ["deep"])]), "result", "inner",
    )  # fmt: skip
    then = branch("then", [node("Squeeze", ["pooled", "sides"], ["short"]), inner])
    second = branch("then", [node("Add", ["features", "factor"], ["short"])], {"factor": np.float32([0.25])})
    graph = model_of(
        CONV, POOL, *LENGTH, choice("single", then, KEEP), choice("single", second, KEEP, "wider", "next"),
        node("MatMul", ["wider", "matrix"], ["scores"]), weights={"last": np.array([-1])},
    )  # fmt: skip
    require_same(graph, tmp_path)


def test_what_only_the_other_branch_reads_does_not_matter(tmp_path):
    odd = branch("else", [node("Identity", ["strange"], ["short"])])
    graph = model_of(
        CONV, POOL, *LENGTH, node("Det", ["maps"], ["strange"]), choice("single", SQUEEZE, odd), HEAD,
        weights={"last": np.array([-1])},
    )  # fmt: skip
    require_same(graph, tmp_path)


def test_bias_of_a_layer_behind_a_branch_is_joined(tmp_path):
    """The branch that is not taken reads the layer's result; it must not keep the bias apart."""
    peek = branch("else", [node("Identity", ["product"], ["short"])])
    take = branch("then", [node("Add", ["product", "twice"], ["short"])], {"twice": array(2)})
    graph = model_of(
        CONV, POOL, *LENGTH, FLAT, node("MatMul", ["features", "matrix"], ["product"]),
        choice("single", take, peek, "scores"), weights={"last": np.array([-1])},
    )  # fmt: skip
    assert require_same(graph, tmp_path).get_submodule("matrix").bias is not None


# ----------------------------------------------------------------------------------------------- functions


def scaled_convolution():
    """A function with an attribute of its own that calls another function."""
    scale = helper.make_function(
        "my", "Scale", ["x"], ["y"],
        [node("Constant", [], ["factor"], value_float=0.5), node("Mul", ["x", "factor"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    strided = node("Conv", ["x", "w", "b"], ["z"], pads=[1, 1, 1, 1])
    strided.attribute.add(name="strides", ref_attr_name="step", type=onnx.AttributeProto.INTS)
    layer = helper.make_function(
        "my", "Layer", ["x", "w", "b"], ["y"], [strided, node("Scale", ["z"], ["y"], domain="my")],
        [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)], ["step"],
    )  # fmt: skip
    return [scale, layer]


def test_functions_are_written_out(tmp_path):
    layer = node("Layer", ["pixels", "kernel", "shift"], ["maps"], domain="my", step=[2, 2])
    graph = model_of(layer, POOL, FLAT, HEAD, imports=["my"])
    graph.functions.extend(scaled_convolution())
    network = require_same(graph, tmp_path)
    assert isinstance(network.get_submodule("kernel"), torch.nn.Conv2d)


def test_operators_that_onnx_defines_by_others(tmp_path):
    more = [
        node("MeanVarianceNormalization", ["maps"], ["even"], axes=[2, 3]),
        node("Shrink", ["even"], ["small"], lambd=0.2, bias=0.1),
        node("ThresholdedRelu", ["small"], ["large"], alpha=0.3),
        node("GlobalAveragePool", ["large"], ["pooled"]),
    ]  # fmt: skip
    require_same(model_of(CONV, *more, FLAT, HEAD, opset=18), tmp_path)


# ------------------------------------------------------------------------------------------- unread values


def test_nodes_that_nothing_reads_do_not_matter(tmp_path):
    """A foreign operator, a loop, a quantizer and an unknown operator beside the network."""
    beside = [
        node("Det", ["maps"], ["a"]), node("Odd", ["a"], ["b"], domain="my"),
        node("QuantizeLinear", ["pixels", "half"], ["c"]), node("NonZero", ["features"], ["d"]),
    ]  # fmt: skip
    graph = model_of(CONV, *beside[:1], POOL, FLAT, *beside[1:], HEAD, imports=["my"])
    found = imported(graph, tmp_path)
    images = torch.randn(2, 3, SIZE, SIZE)
    lean = imported(model_of(CONV, POOL, FLAT, HEAD), tmp_path)
    assert torch.equal(found.program.network()(images), lean.program.network()(images))


def test_nodes_in_any_order(tmp_path):
    graph = model_of(HEAD, POOL, CONV, FLAT)
    found = imported(graph, tmp_path).program.network()
    images = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(
        found(images), imported(model_of(CONV, POOL, FLAT, HEAD), tmp_path).program.network()(images)
    )


def test_a_refusal_names_the_first_node_in_the_way(tmp_path):
    graph = model_of(
        CONV, POOL, FLAT, node("Hardmax", ["features"], ["odd"], name="first"),
        node("Neg", ["odd"], ["features2"], name="second"),
        node("MatMul", ["features2", "matrix"], ["scores"]),
    )  # fmt: skip
    with pytest.raises(UserError, match="node first is of operator Hardmax"):
        imported(graph, tmp_path)


# --------------------------------------------------------------------------------------------- IR versions


def test_newer_form_of_the_file(tmp_path, caplog):
    """ONNX Runtime reads the graph that is kept for the comparison, whatever the file's version."""
    graph = model_of(CONV, POOL, FLAT, HEAD)
    graph.ir_version = onnx.IR_VERSION
    found = imported(graph, tmp_path)
    onnxruntime.InferenceSession(found.scores.SerializeToString())
    assert not caplog.records
    graph.ir_version = onnx.IR_VERSION + 7
    with caplog.at_level(logging.WARNING):
        found = imported(graph, tmp_path)
    onnxruntime.InferenceSession(found.scores.SerializeToString())
    assert f"IR version {onnx.IR_VERSION + 7}" in caplog.text and len(caplog.records) == 1


# ---------------------------------------------------------------------------------- transposed convolution


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 1, 1, 0]}, {"pads": [0, 1, 1, 2], "output_padding": [1, 1]}, {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"}, {"output_shape": [16, 16]}, {"auto_pad": "VALID", "dilations": [2, 2]},
    ],
)  # fmt: skip
def test_transposed_convolution(attributes, tmp_path):
    grow = node("ConvTranspose", ["maps", "wide", "shift"], ["large"], strides=[2, 2], group=2, **attributes)
    nodes = [grow, node("Flatten", ["large"], ["scores"])]
    require_same(model_of(CONV, *nodes, weights={"wide": array(4, 2, 3, 3)}), tmp_path)


# -------------------------------------------------------------------------------------------------- resize


def resized(scales=None, sizes=None, opset=17, **attributes):
    """The convolution's maps [N, 4, 8, 8] resized, and their products with fixed numbers."""
    weights = {"window": array(1, 4, 1, 1), "region": np.zeros(0, np.float32)}
    weights["scales"] = np.float32([] if scales is None else scales)
    if sizes is not None:
        weights["sizes"] = np.array(sizes)
    inputs = ["maps", "region", "scales", *(["sizes"] if sizes is not None else [])]
    last = [node("Mul", ["large", "window"], ["colours"]), node("Flatten", ["colours"], ["scores"])]
    return model_of(
        CONV, node("Resize", inputs, ["large"], name="grow", **attributes), *last, weights=weights,
        opset=opset, shape=ONE if sizes is not None else ("n", 3, SIZE, SIZE),
    )  # fmt: skip


WHOLE, UNEVEN, SMALLER = (1, 1, 2, 2), (1, 1, 1.7, 2.3), (1, 1, 0.5, 0.6)
HALF, SYMMETRIC, TORCH, ASYMMETRIC, CORNERS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric", "align_corners",
)  # fmt: skip


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("way", [HALF, TORCH, ASYMMETRIC, CORNERS])
@pytest.mark.parametrize("scales", [WHOLE, UNEVEN, SMALLER])
def test_nearest_by_scales(scales, way, rounding, tmp_path):
    attributes = {"mode": "nearest", "coordinate_transformation_mode": way, "nearest_mode": rounding}
    require_same(resized(scales, **attributes), tmp_path)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("way", [HALF, TORCH, CORNERS])
@pytest.mark.parametrize("scales", [WHOLE, UNEVEN, SMALLER])
def test_smooth_by_scales(scales, way, mode, tmp_path):
    require_same(resized(scales, mode=mode, coordinate_transformation_mode=way), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("opset", [11, 13, 19])
def test_by_sizes(mode, opset, tmp_path):
    require_same(resized(sizes=(1, 4, 13, 5), mode=mode, opset=opset), tmp_path)
    if opset > 17:
        axes = resized(sizes=(13, 5), axes=[2, 3], mode=mode, opset=opset)
        require_same(axes, tmp_path)


def test_every_second_pixel_is_a_choice_of_pixels(tmp_path):
    graph = resized((1, 1, 0.5, 0.25), mode="linear", coordinate_transformation_mode=ASYMMETRIC)
    assert "nearest" in str(require_same(graph, tmp_path))


def test_channels_last(tmp_path):
    turn = [
        node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        node("Resize", ["last", "", "scales"], ["large"], mode="linear"),
        node("ReduceMean", ["large"], ["features"], axes=[1], keepdims=0),
        node("Flatten", ["features"], ["scores"]),
    ]  # fmt: skip
    require_same(model_of(CONV, *turn, weights={"scales": np.float32([1, 2, 1.5, 1])}), tmp_path)


@pytest.mark.parametrize(
    ("scales", "attributes", "why"),
    [
        (WHOLE, {"mode": "linear", "coordinate_transformation_mode": ASYMMETRIC}, "mode linear with asymm"),
        (WHOLE, {"mode": "cubic", "cubic_coeff_a": -0.5}, "mode cubic with half_pixel"),
        (WHOLE, {"mode": "cubic", "exclude_outside": 1}, "mode cubic with half_pixel"),
        (UNEVEN, {"mode": "linear", "coordinate_transformation_mode": SYMMETRIC}, "half_pixel_symmetric"),
        ((1, 0.5, 2, 2), {"mode": "linear"}, "axes that are not next to each other"),
    ],
)
def test_resize_without_counterpart(scales, attributes, why, tmp_path):
    with pytest.raises(UserError, match=rf"node grow \(Resize\) cannot be converted: .*{why}"):
        imported(resized(scales, opset=19, **attributes), tmp_path)


# ------------------------------------------------------------------------------------ batches of one image


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Squeeze", ["pooled"], ["f"]), node("MatMul", ["f", "matrix"], ["scores"])],
        [node("Squeeze", ["pooled"], ["f"]), node("Relu", ["f"], ["g"]),
         node("Unsqueeze", ["g", "zero"], ["features"]), HEAD],
        [node("Squeeze", ["pooled"], ["f"]), node("Reshape", ["f", "batchless"], ["features"]), HEAD],
        [FLAT, node("Gather", ["features", "first"], ["f"], axis=0),
         node("MatMul", ["f", "matrix"], ["g"]), node("Softmax", ["g"], ["scores"], axis=-1)],
        [FLAT, node("MatMul", ["features", "matrix"], ["f"]), node("Squeeze", ["f", "zero"], ["scores"])],
    ],
)  # fmt: skip
def test_file_for_one_image_drops_the_axis_of_the_batch(nodes, tmp_path):
    require_same(model_of(CONV, POOL, *nodes, shape=ONE, weights={"first": np.array(0)}), tmp_path)


def test_squeeze_without_axes_keeps_an_open_batch(tmp_path):
    graph = model_of(CONV, POOL, node("Squeeze", ["pooled"], ["features"]), HEAD)
    require_same(graph, tmp_path)


def test_dropped_batch_before_axes_that_are_counted_from_the_front(tmp_path):
    graph = model_of(
        CONV, POOL, node("Squeeze", ["pooled"], ["f"], name="drop"),
        node("ReduceMean", ["f"], ["scores"], axes=[0], name="mean"), shape=ONE,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"node mean \(ReduceMean\).*drops the axis of the batch"):
        imported(graph, tmp_path)


# --------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("names", [("image", "inputs"), ("pixels", "image"), ("entry", "image.nhwc")])
def test_names_that_our_own_modules_use(names, channels_last, tmp_path):
    """Values called as ours are, and weights called as methods and attributes of modules are."""
    first, middle = names
    turn = [node("Transpose", [first], ["turned"], perm=[0, 3, 1, 2])] if channels_last else []
    nodes = [
        *turn, node("Conv", ["turned" if turn else first, "forward.weight", "shift"], [middle], pads=[1] * 4),
        node("Conv", [middle, "steps.weight"], ["maps"]), POOL, FLAT,
        node("MatMul", ["features", "training.lambda_1"], ["scores.temporary"]),
        node("MatMul", ["scores.temporary", "entry.weight"], ["scores"]),
    ]  # fmt: skip
    weights = {
        "forward.weight": WEIGHTS["kernel"], "steps.weight": array(4, 4, 1, 1),
        "training.lambda_1": array(4, 4), "entry.weight": WEIGHTS["matrix"],
    }  # fmt: skip
    shape = ("n", SIZE, SIZE, 3) if channels_last else ("n", 3, SIZE, SIZE)
    graph = model_of(*nodes, weights=weights, shape=shape)
    graph.graph.input[0].name = first
    found = imported(graph, tmp_path)
    images = torch.randn(2, 3, SIZE, SIZE)
    given = images.permute(0, 2, 3, 1) if channels_last else images
    graph.ir_version = 8
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    wanted = session.run(None, {first: given.contiguous().numpy()})[0]
    network = found.program.network()
    with torch.no_grad():
        np.testing.assert_allclose(network(images).numpy(), wanted, atol=1e-5)
    assert {"forward_", "steps_", "training_.lambda_"} <= {name for name, _ in network.named_modules()}


def test_functions_give_way_to_layers_of_their_block(tmp_path):
    """Its layers are `mul.q` and `attention.k`; a product and an attention have no scope."""
    names = ("mul.q", "attention.k", "attention.v", "mul.o")
    width = {f"block.{name}.weight": array(4, 4) for name in names}
    nodes = [
        CONV, node("Reshape", ["maps", "tokens"], ["rows"]),
        node("Transpose", ["rows"], ["x"], perm=[0, 2, 1]),
        node("MatMul", ["x", "block.mul.q.weight"], ["q"]),
        node("MatMul", ["x", "block.attention.k.weight"], ["k"]),
        node("MatMul", ["x", "block.attention.v.weight"], ["v"]),
        node("Transpose", ["k"], ["turned"], perm=[0, 2, 1]), node("MatMul", ["q", "turned"], ["products"]),
        node("Mul", ["products", "half"], ["scaled"]), node("Softmax", ["scaled"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["mixed"]), node("Mul", ["mixed", "mixed"], ["square"]),
        node("MatMul", ["square", "block.mul.o.weight"], ["y"]), node("Add", ["y", "x"], ["z"]),
        node("ReduceMean", ["z"], ["features"], axes=[1], keepdims=0), HEAD,
    ]  # fmt: skip
    network = require_same(model_of(*nodes, weights=width | {"tokens": np.array([0, 4, -1])}), tmp_path)
    modules = dict(network.named_modules())
    assert isinstance(modules["block"], GraphNetwork) and isinstance(modules["block.mul.q"], torch.nn.Linear)
    assert any(isinstance(module, GraphAttention) for module in modules.values())


def test_temporary_value_called_as_one_of_the_graph(tmp_path):
    """Gemm makes a value of its own between its two steps, ``scores.product``."""
    graph = model_of(
        CONV, POOL, FLAT, node("Relu", ["features"], ["scores.product"]),
        node("Gemm", ["features", "matrix", "rows"], ["part"]),
        node("Gemm", ["scores.product", "matrix", "part"], ["scores"]), weights={"rows": array(1, 2)},
    )  # fmt: skip
    require_same(graph, tmp_path)


# ----------------------------------------------------------------------------------------------- sequences


def test_sequences(tmp_path):
    """Chunks, their stack, and a list that grows: as torch's older exporter writes them."""
    nodes = [
        CONV, POOL, FLAT, node("SplitToSequence", ["features", "two"], ["chunks"], axis=1),
        node("SequenceAt", ["chunks", "first"], ["a"]), node("SequenceAt", ["chunks", "second"], ["b"]),
        node("Add", ["a", "b"], ["sum"]), node("SequenceEmpty", [], ["none"]),
        node("SequenceInsert", ["none", "b"], ["list1"]), node("SequenceInsert", ["list1", "sum"], ["list2"]),
        node("ConcatFromSequence", ["list2"], ["stack"], axis=1, new_axis=1),
        node("ReduceMax", ["stack"], ["scores"], axes=[1], keepdims=0),
    ]  # fmt: skip
    require_same(
        model_of(*nodes, weights={"two": np.array(2), "first": np.array(0), "second": np.array(-1)}), tmp_path
    )
