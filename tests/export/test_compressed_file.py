"""``model.onnx.gz``: the same codes as in ``model.onnx``, whatever unpacks it."""

import gzip
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brevitas_defakeq import UserError, export_onnx, quantize
from brevitas_defakeq.export.constant_pool import Constants, stretches
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.export.onnx import compressed_size
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import Card, ExportedDetector, latency
from brevitas_defakeq.runtime.onnx_file import open_session

#: A gzip file as a web page reads it.
_IN_NODE = """
const { Readable } = require('stream');
const plain = Readable.toWeb(process.stdin).pipeThrough(new DecompressionStream('gzip'));
new Response(plain).arrayBuffer().then(content => process.stdout.write(Buffer.from(content)));
"""


@pytest.fixture(scope="module")
def run(tiny, images, quick_config):
    config = quick_config(
        average_bits=3, candidate_bits=(1.6, 2, 3, 4, 5, 8), reconstruction__iterations=3, final__steps=0
    )
    return quantize(tiny.model(), images, config, preprocessing=Preprocessing((16, 16)))


@pytest.fixture(scope="module")
def plain(run, images, tmp_path_factory):
    export_onnx(run, folder := tmp_path_factory.mktemp("plain"), verify=images)
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def packed(run, images, tmp_path_factory):
    export_onnx(run, folder := tmp_path_factory.mktemp("compressed"), verify=images, compress=True)
    return folder / "model.onnx.gz"


def test_files_and_card(run, packed):
    assert {path.name for path in packed.parent.iterdir()} == {"model.onnx.gz", "model_card.json"}
    card = Card.read(packed.parent / "model_card.json")
    assert card.bytes["model.onnx.gz"] == packed.stat().st_size == compressed_size(run)
    assert card.bytes["file"] == len(gzip.decompress(packed.read_bytes()))
    assert card.provenance["agreement"]["verdicts"] >= 0.95, "the file was checked as it is unpacked"
    onnx.checker.check_model(onnx.load_from_string(gzip.decompress(packed.read_bytes())))


@pytest.mark.parametrize("optimize", [True, False])
def test_the_same_scores_bit_for_bit(plain, packed, images, optimize):
    scores = []
    for source in (plain, packed, gzip.decompress(packed.read_bytes())):
        session = open_session(source, optimize=optimize)
        scores.append(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    assert np.array_equal(scores[0], scores[1]) and np.array_equal(scores[1], scores[2])


def test_the_runtime_takes_it(plain, packed, images):
    wanted, found = ExportedDetector(plain), ExportedDetector(packed)
    assert np.array_equal(found.logits(images.numpy()), wanted.logits(images.numpy()))
    measured = latency([plain, packed], runs=1, warmup=0)["files"]
    assert [file["file_bytes"] for file in measured] == [plain.stat().st_size, packed.stat().st_size]


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_file_that_is_cut_short(packed, tmp_path, length):
    shutil.copy(packed.parent / "model_card.json", tmp_path)
    (tmp_path / "model.onnx.gz").write_bytes(packed.read_bytes()[:length])
    with pytest.raises(UserError, match=r"model\.onnx\.gz is cut short; copy it again") as caught:
        ExportedDetector(tmp_path / "model.onnx.gz")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind(plain, tmp_path):
    shutil.copy(plain.parent / "model_card.json", tmp_path)
    shutil.copy(plain, tmp_path / "model.onnx.gz")
    with pytest.raises(UserError, match=r"model\.onnx\.gz is no intact gzip file"):
        ExportedDetector(tmp_path / "model.onnx.gz")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_browser_unpacks_it(packed):
    content = packed.read_bytes()
    outcome = subprocess.run(["node", "-e", _IN_NODE], input=content, capture_output=True, timeout=60)
    assert outcome.returncode == 0, outcome.stderr.decode()
    assert outcome.stdout == gzip.decompress(content)


RNG = np.random.default_rng(0)


def coded(bits: float, shape: tuple[int, int], *, axis: int) -> IntegerWeight:
    """Codes that crowd at the zero point, which is another one in every channel."""
    levels = 3 if bits == 1.6 else 2 ** int(bits)
    zero = RNG.integers(0, levels, shape[axis])
    along = zero.reshape([-1 if place == axis else 1 for place in range(2)])
    codes = np.round(along + RNG.normal(0, levels / 8, shape)).clip(0, levels - 1)
    return IntegerWeight(
        codes=codes.astype(np.uint8), zero_point=zero.astype(np.int32),
        scale=np.full(shape[axis], 0.5, np.float32), axis=axis, bits=bits, integer_bias=False,
        restored=np.zeros([0 if place == axis else side for place, side in enumerate(shape)], np.int8),
        restored_scale=np.zeros(0, np.float32), order=np.arange(shape[axis]),
    )  # fmt: skip


def written(weights: list[IntegerWeight], dtype: type, *, compressible: bool) -> bytes:
    """A graph that only hands the weights' values out, gzipped or plain."""
    constants = Constants(compressible=compressible)
    names = [constants.weight(weight, dtype, packed=True) for weight in weights]
    kind = TensorProto.INT8 if dtype == np.int8 else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(f"out{place}", kind, None) for place in range(len(names))]
    nodes = [helper.make_node("Identity", [name], [f"out{place}"]) for place, name in enumerate(names)]
    graph = helper.make_graph(nodes, "test", [], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    constants.write_(model)
    parts = stretches(model, constants.groups)
    assert b"".join(parts) == model.SerializeToString()
    return b"".join(parts)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("bits", [1.6, 2, 3, 4, 5, 6, 7])
def test_codes_of_every_width_and_odd_sizes_come_back(bits, dtype):
    shapes = [(1, 1), (3, 7), (5, 1), (1, 9), (24, 13), (400, 251)]  # the last is unpacked by itself
    weights = [coded(bits, shape, axis=axis) for shape in shapes for axis in (0, 1)]
    found = open_session(written(weights, dtype, compressible=True)).run(None, {})
    for weight, values in zip(weights, found, strict=True):
        assert values.dtype == dtype and np.array_equal(values, weight.centred), (bits, weight.codes.shape)


def test_codes_of_one_width_lie_together():
    weights = [coded(bits, (40, 30), axis=0) for bits in (3, 2, 3, 6, 2)]
    model = onnx.load_from_string(written(weights, np.int8, compressible=True))
    large = [numpy_helper.to_array(tensor).size for tensor in model.graph.initializer]
    place = large.index(600)
    assert large[place : place + 3] == [600, 1200, 1200], "two of 2 bits; two of 3, two codes to a byte; 6"
