"""From an ONNX file to a run and out again: names, layout and meaning stay; a folder keeps its own layout."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_files import SIZE, Convolutions, Transformer, in_half, trained, write

from brevitas_defakeq import load, quantize
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.export import export
from brevitas_defakeq.file_agreement import require_agreement
from brevitas_defakeq.runtime.exported_detector import ExportedDetector
from brevitas_defakeq.utils.errors import UserError

KERAS = Path(__file__).resolve().parent / "data_files" / "keras_small.onnx"


def interface(path):
    graph = onnx.load(path).graph
    return [
        (value.name, value.type.tensor_type.elem_type, [dim.dim_param or dim.dim_value for dim in
         value.type.tensor_type.shape.dim]) for value in (*graph.input, *graph.output)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(trained(Transformer()), tmp_path_factory.mktemp("onnx") / "vit.onnx", 17, dynamo=False)


@pytest.fixture(scope="module")
def run(file, tmp_path_factory, images, quick_config):
    """A run of the ViT in a file, saved and loaded without the file."""
    folder = tmp_path_factory.mktemp("run")
    quantize(resolve(str(file), mean=0.5, std=0.5), images, quick_config(), out=folder)
    return load(folder)


def test_same_widths_as_from_the_module(run, images, quick_config):
    wanted = quantize(trained(Transformer()), images, quick_config())
    assert run.bits == {name: wanted.bits[name] for name in run.bits} and len(run.bits) == len(wanted.bits)
    assert len(run.plan.attentions) == 2 and not run.plan.left_float
    assert [block.layers for block in run.plan.blocks][1] == (
        "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.fc1", "blocks.0.fc2",
    )  # fmt: skip


def test_exported_file_is_called_as_the_one_that_came_in(run, file, images, tmp_path):
    export(run, tmp_path, "onnx", verify=images)
    assert interface(tmp_path / "model.onnx") == interface(file)
    detector = ExportedDetector(tmp_path / "model.onnx")
    with torch.no_grad():
        wanted = run.observer(run.quantized, images)[0].numpy()
    assert np.corrcoef(detector.logits(images.numpy()), wanted)[0, 1] > 0.99


def test_float_weights_come_from_the_file(run, file, images, tmp_path):
    from brevitas_defakeq.artifact import load_float

    network = load_float(run, file)
    with torch.no_grad():
        torch.testing.assert_close(network(images), trained(Transformer())(images), atol=1e-4, rtol=1e-4)
    other = write(trained(Convolutions()), tmp_path / "other.onnx", 17, dynamo=False)
    with pytest.raises(UserError, match="is not the file that the run was made from"):
        load_float(run, other)


def test_channels_last_and_softmax_stay(quick_config, drawn, tmp_path):
    faces = drawn(32, size=32)[0]
    detector = resolve(str(KERAS), mean=0.5, std=0.5)
    assert detector.output.kind == "softmax"
    run = quantize(detector, faces, quick_config())
    card = export(run, tmp_path, "onnx")
    assert interface(tmp_path / "model.onnx") == interface(KERAS)
    assert card["output"]["kind"] == "probability" and card["input"]["layout"] == "NHWC"
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {"input_1": faces.permute(0, 2, 3, 1).contiguous().numpy()})[0]
    with torch.no_grad():
        wanted = run.quantized(faces).softmax(-1).numpy()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert np.abs(found - wanted).max() < 0.05


@pytest.mark.parametrize("half", [False, True])
def test_one_image_at_a_time_and_half_precision_stay(half, images, quick_config, tmp_path):
    path = write(trained(Convolutions()), tmp_path / "a.onnx", 17, dynamo=False, fixed=True)
    path = in_half(path) if half else path
    run = quantize(resolve(str(path), mean=0.5, std=0.5), images, quick_config())
    export(run, tmp_path / "out", "onnx", verify=images)
    assert interface(tmp_path / "out" / "model.onnx") == interface(path)


def test_file_without_axis_of_the_batch_keeps_its_shape(images, quick_config, tmp_path):
    """A file for one image whose scores have the shape [2]."""
    path = write(trained(Convolutions()), tmp_path / "a.onnx", 17, dynamo=False, fixed=True)
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "row"
    model.graph.node.append(onnx.helper.make_node("Squeeze", ["row"], ["scores"]))
    del model.graph.output[0].type.tensor_type.shape.dim[0]
    onnx.save(model, path)
    run = quantize(resolve(str(path), mean=0.5, std=0.5), images, quick_config())
    export(run, tmp_path / "out", "onnx", verify=images)
    assert interface(tmp_path / "out" / "model.onnx") == interface(path)
    found = ExportedDetector(tmp_path / "out" / "model.onnx").logits(images.numpy())
    with torch.no_grad():
        wanted = run.observer(run.quantized, images)[0].numpy()
    assert np.corrcoef(found, wanted)[0, 1] > 0.99


def test_a_network_that_was_rebuilt_wrongly_is_refused(file, images):
    detector = resolve(str(file), mean=0.5, std=0.5)
    assert require_agreement(detector, images) < 1e-4
    wrong = trained(Transformer(), seed=1)
    with pytest.raises(UserError, match="was rebuilt wrongly from its ONNX file"):
        require_agreement(replace(detector, model=wrong), images)


@pytest.fixture(scope="module")
def browser_folder(tmp_path_factory):
    """A folder of `transformers.js` with a ViT."""
    folder = tmp_path_factory.mktemp("folder") / "my-detector"
    (folder / "onnx").mkdir(parents=True)
    write(trained(Transformer()), folder / "onnx" / "model.onnx", 17, dynamo=False)
    labels = {"id2label": {"0": "Fake", "1": "Real"}, "model_type": "vit"}
    (folder / "config.json").write_text(json.dumps(labels))
    processor = {
        "size": {"height": SIZE, "width": SIZE}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6],
        "resample": 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def test_browser_folder(browser_folder, images, quick_config, tmp_path):
    detector = resolve(str(browser_folder))
    assert detector.name == "my-detector" and detector.output.fake_index == 0
    assert (
        detector.preprocessing.mean == (0.1, 0.2, 0.3) and detector.preprocessing.interpolation == "bicubic"
    )
    quantize(detector, images, quick_config(), out=tmp_path / "run")
    export(load(tmp_path / "run"), tmp_path / "out", "transformersjs", verify=images)
    written = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
    )
    assert written == [
        "config.json",
        "onnx/model_card.json",
        "onnx/model_q3.onnx",
        "preprocessor_config.json",
    ]
    assert interface(tmp_path / "out/onnx/model_q3.onnx") == interface(browser_folder / "onnx/model.onnx")
    for name in ("config.json", "preprocessor_config.json"):
        assert json.loads((tmp_path / "out" / name).read_text()) == json.loads(
            (browser_folder / name).read_text()
        )


def test_only_a_browser_folder_becomes_one(run, tmp_path):
    with pytest.raises(UserError, match="was not made from a transformers.js folder"):
        export(run, tmp_path, "transformersjs")


def test_commands(workplace, file):
    shutil.copy(file, workplace.folder / "vit.onnx")
    shown = workplace("inspect", "vit.onnx", "--mean", 0.5, "--std", 0.5, "--json").json()
    assert [layer["name"] for layer in shown["layers"]][:2] == ["patches", "blocks.0.attn.qkv"]
    refused = workplace("inspect", "vit.onnx", "--weights", "x.pth", "--mean", 0.5, "--std", 0.5)
    assert refused.status == 2 and "holds its own weights" in refused.one_line()
    missing = workplace("inspect", "missing.onnx")
    assert missing.status == 2 and "missing.onnx does not exist" in missing.one_line()
