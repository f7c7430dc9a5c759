"""Files of torch's two exporters and of tf2onnx become the network that they were written from."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_files import SIZE, Convolutions, Transformer, in_half, trained, write

from brevitas_defakeq.detectors.onnx_graph.import_graph import import_graph
from brevitas_defakeq.detectors.onnx_graph.program import Program
from brevitas_defakeq.nn.graph_network import GraphAttention
from brevitas_defakeq.nn.layer_kinds import find_layer_kind

KERAS = Path(__file__).resolve().parents[2] / "data_files" / "keras_small.onnx"
SLOW = pytest.mark.slow
#: Both exporters at the ends of the range, and where operators changed their form.
WAYS = [
    (11, False), (13, False), (17, False), (20, False), (18, True),
    *(pytest.param(opset, True, marks=SLOW) for opset in (21, 23, 25)),
]  # fmt: skip


def layer_names(network):
    return [name for name, module in network.named_modules() if find_layer_kind(module)]


def require_same(found, wanted):
    spread = wanted.std(dim=0).max()
    assert (found - wanted).abs().max() <= 1e-4 * spread, f"{(found - wanted).abs().max() / spread:.1e}"


@pytest.fixture(scope="module")
def batch():
    return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("opset", "dynamo"), WAYS)
@pytest.mark.parametrize("make", [Convolutions, Transformer])
def test_same_network(make, opset, dynamo, batch, tmp_path):
    network = trained(make())
    imported = import_graph(write(network, tmp_path / "a.onnx", opset, dynamo=dynamo))
    rebuilt = imported.program.network()
    with torch.no_grad():
        require_same(rebuilt(batch), network(batch))
    assert sorted(layer_names(rebuilt)) == sorted(layer_names(network))
    attentions = [module for module in rebuilt.modules() if isinstance(module, GraphAttention)]
    assert len(attentions) == (2 if make is Transformer else 0)


@pytest.mark.parametrize(("opset", "dynamo"), [(14, False), pytest.param(18, True, marks=SLOW), (25, True)])
def test_torchs_attention_function(opset, dynamo, batch, tmp_path):
    network = trained(Transformer(written=False))
    rebuilt = import_graph(write(network, tmp_path / "a.onnx", opset, dynamo=dynamo)).program.network()
    with torch.no_grad():
        require_same(rebuilt(batch), network(batch))
    assert sum(isinstance(module, GraphAttention) for module in rebuilt.modules()) == 2


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=SLOW)])
@pytest.mark.parametrize("make", [Convolutions, Transformer])
def test_file_for_one_image_takes_any_batch(make, dynamo, batch, tmp_path):
    network = trained(make())
    imported = import_graph(write(network, tmp_path / "a.onnx", 18, dynamo=dynamo, fixed=True))
    assert imported.interface.fixed_batch
    with torch.no_grad():
        require_same(imported.program.network()(batch), network(batch))


def test_batch_norm_that_was_not_folded(batch, tmp_path):
    network = trained(Convolutions())
    rebuilt = import_graph(
        write(network, tmp_path / "a.onnx", 13, dynamo=False, fold=False)
    ).program.network()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in rebuilt.modules())
    with torch.no_grad():
        require_same(rebuilt(batch), network(batch))


@pytest.mark.parametrize("make", [Convolutions, Transformer])
def test_half_precision_is_computed_in_float32(make, batch, tmp_path):
    network = trained(make())
    imported = import_graph(in_half(write(network, tmp_path / "a.onnx", 17, dynamo=False)))
    assert imported.interface.image.dtype == imported.interface.outputs[0].dtype == "float16"
    rounded = trained(make())
    for tensor in rounded.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    with torch.no_grad():
        found, wanted = imported.program.network()(batch), rounded(batch)
    spread = wanted.std(dim=0).max()
    assert (found - wanted).abs().max() < 0.01 * spread  # the exporter folds before it rounds


def test_keras(tmp_path):
    imported = import_graph(KERAS)
    assert imported.interface.layout == "NHWC" and imported.interface.outputs[0].final == "Softmax"
    rebuilt = imported.program.network()
    kinds = [type(module).__name__ for module in rebuilt.modules()]
    assert (
        kinds.count("Linear") == 1
        and "BatchNorm2d" not in kinds
        and "entry" not in dict(rebuilt.named_modules())
    )
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(KERAS)
    wanted = session.run(None, {"input_1": images.permute(0, 2, 3, 1).numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(rebuilt(images).softmax(-1).numpy(), wanted, atol=1e-6)


def test_program_rebuilds_the_network(batch, tmp_path):
    program = import_graph(write(trained(Transformer()), tmp_path / "a.onnx", 17, dynamo=False)).program
    first, again = program.network(), Program.from_json(program.to_json()).network()
    again.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(batch), again(batch))
