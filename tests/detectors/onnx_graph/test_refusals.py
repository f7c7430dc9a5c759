"""What cannot be taken is refused in one line that names it; a quantized file is read on request."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_files import SIZE, Convolutions, graph_of, trained, write

from brevitas_defakeq.detectors.onnx_graph.import_graph import import_graph
from brevitas_defakeq.utils.errors import UserError

WEIGHT = {"weight": np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)}
node = helper.make_node
POOL = [node("ReduceMean", ["pixels"], ["pooled"], axes=[2, 3], keepdims=0)]
HEAD = node("MatMul", ["pooled", "weight"], ["scores"])


def saved(model, folder):
    onnx.save(model, folder / "a.onnx")
    return folder / "a.onnx"


def branch():
    """A choice that depends on the image."""
    graph = helper.make_graph(
        [node("Identity", ["pooled"], ["taken"])], "then", [],
        [helper.make_tensor_value_info("taken", TensorProto.FLOAT, None)],
    )  # fmt: skip
    return [
        *POOL, node("ReduceMax", ["pooled"], ["largest"], axes=[1], keepdims=0),
        node("Cast", ["largest"], ["condition"], to=TensorProto.BOOL),
        node("If", ["condition"], ["scores"], name="choice", then_branch=graph, else_branch=graph),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (graph_of([*POOL, node("Det", ["pooled"], ["scores"], name="odd")], {}), "odd is of operator Det"),
        (graph_of(branch(), {}), "node choice (If) is control flow whose condition depends on the image"),
        (
            graph_of([*POOL, node("Odd", ["pooled"], ["scores"], name="f", domain="my")], {}, imports=["my"]),
            "node f is Odd of the domain my",
        ),
        (graph_of([*POOL, HEAD], WEIGHT, opset=10), "is of ONNX opset 10; 11 to 25 can be read"),
        (graph_of([*POOL, HEAD], WEIGHT, shape=("n", 8)), "is no batch of RGB images"),
        (graph_of([*POOL, HEAD], WEIGHT, shape=(4, 3, 8, 8)), "is fixed to batches of 4 images"),
        (graph_of([*POOL, HEAD], WEIGHT, shape=("n", 3, "h", "w")), "give --input-size"),
        (
            graph_of([*POOL, HEAD, node("Relu", ["scores"], ["other"])], WEIGHT, outputs=("first", "other")),
            "say which is the score with --model-arg output=NAME",
        ),
        (
            graph_of([node("ReduceMean", ["pixels"], ["scores"], axes=[0], name="all")], {}),
            "node all (ReduceMean) cannot be converted: it mixes the images of a batch",
        ),
    ],
)  # fmt: skip
def test_one_line(model, message, tmp_path):
    with pytest.raises(UserError) as raised:
        import_graph(saved(model, tmp_path))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_several_inputs(tmp_path):
    model = graph_of([*POOL, HEAD], WEIGHT)
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n"]))
    with pytest.raises(UserError, match=r"has 2 inputs \(pixels, age\)"):
        import_graph(saved(model, tmp_path))


def test_damaged_files(tmp_path):
    path = saved(graph_of([*POOL, HEAD], WEIGHT), tmp_path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04 no graph", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match="a.onnx"):
            import_graph(path)
    with pytest.raises(UserError, match="does not exist"):
        import_graph(tmp_path / "b.onnx")


def test_external_data(tmp_path):
    model, path = graph_of([*POOL, HEAD], WEIGHT), tmp_path / "a.onnx"
    onnx.save(model, path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    images = torch.randn(3, 3, SIZE, SIZE)
    found = import_graph(path).program.network()(images)
    torch.testing.assert_close(found, images.mean((2, 3)) @ torch.from_numpy(WEIGHT["weight"]))
    (tmp_path / "a.onnx.data").unlink()
    with pytest.raises(UserError, match="a.onnx.data, which is missing"):
        import_graph(path)


def test_output_is_chosen_by_name(tmp_path):
    model = graph_of([*POOL, HEAD, node("Neg", ["scores"], ["other"])], WEIGHT, outputs=("scores", "other"))
    imported = import_graph(saved(model, tmp_path), output="other")
    assert imported.interface.verdict == 1
    raw = imported.program.network()(torch.randn(2, 3, SIZE, SIZE))
    assert list(raw) == imported.program.outputs and torch.equal(raw["other"], -raw["scores"])
    with pytest.raises(UserError, match="has no output 'third'"):
        import_graph(tmp_path / "a.onnx", output="third")


# ---------------------------------------------------------------------------------------- quantized files


class Batches:
    """Calibration for onnxruntime."""

    def __init__(self, images):
        self.left = [{"pixels": image[None].numpy()} for image in images]

    def get_next(self):
        return self.left.pop() if self.left else None


def qdq(source, path, images, form="QDQ"):
    from onnxruntime.quantization import QuantFormat, quantize_static

    quantize_static(source, path, Batches(images), quant_format=QuantFormat[form], per_channel=True)


def dynamic(source, path, images):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QUInt8)


@pytest.mark.parametrize(
    ("quantize", "kind"),
    [
        (qdq, "QDQ"),
        (lambda *given: qdq(*given, form="QOperator"), "integer operators"),
        (dynamic, "dynamically quantized, integer weights"),
    ],
)
def test_quantized_file(quantize, kind, tmp_path):
    network = trained(Convolutions())
    images = torch.randn(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    source, path = write(network, tmp_path / "float.onnx", 17, dynamo=False), tmp_path / "a.onnx"
    quantize(source, path, images)
    with pytest.raises(UserError, match=rf"is quantized already \(.*{kind}.*--from-quantized"):
        import_graph(path)
    imported = import_graph(path, from_quantized=True)
    assert imported.scores is None
    with torch.no_grad():
        found, wanted = imported.program.network()(images), network(images)
    assert ((found - wanted).std(dim=0) < 0.2 * wanted.std(dim=0)).all()


def test_weights_of_four_bits(tmp_path):
    """MatMulNBits: two blocks of 16 codes, the lower half of a byte first, zero point 8."""
    codes = np.random.default_rng(0).integers(0, 16, (2, 2, 16), dtype=np.uint8)
    scales = np.float32([[0.5, 1.0], [2.0, 0.25]])
    packed = codes[..., ::2] | codes[..., 1::2] << 4
    weights = {"codes": packed, "scales": scales.reshape(-1), "wide": np.ones((3, 32), np.float32)}
    nodes = [
        *POOL, node("MatMul", ["pooled", "wide"], ["features"]),
        node("MatMulNBits", ["features", "codes", "scales"], ["scores"], domain="com.microsoft", K=32, N=2,
             bits=4, block_size=16),
    ]  # fmt: skip
    path = saved(graph_of(nodes, weights, imports=["com.microsoft"]), tmp_path)
    layers = import_graph(path, from_quantized=True).program.network().state_dict()
    wanted = (codes.astype(np.float32) - 8) * scales[..., None]
    found = next(tensor for tensor in layers.values() if tensor.shape == (2, 32))
    np.testing.assert_array_equal(found.numpy(), wanted.reshape(2, 32))


def test_constant_of_another_kind_is_no_weight(tmp_path):
    """A weight that no node reads does not matter, whatever it is."""
    model = graph_of([*POOL, HEAD], WEIGHT)
    model.graph.initializer.append(numpy_helper.from_array(np.array(["text"], dtype=object), "note"))
    assert import_graph(saved(model, tmp_path)).interface.verdict == 0
