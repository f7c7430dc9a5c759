"""Runs exported to ONNX and scored by ONNX Runtime against the quantized model."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from brevitas_defakeq import UserError, export_onnx, load, quantize
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.export import onnx as exporter
from brevitas_defakeq.export.agreement import optimized
from brevitas_defakeq.export.integer_weights import integer_weight
from brevitas_defakeq.imaging.preprocessing import Preprocessing, preprocess_array
from brevitas_defakeq.quant.activation_quantizer import activation_grid
from brevitas_defakeq.runtime import Card, ExportedDetector, predict
from brevitas_defakeq.runtime.onnx_file import open_session

PREPROCESSING = Preprocessing((16, 16))
#: Settings that reach every pattern.
SETTINGS = {
    "asymmetric": {"average_bits": 3},
    "three levels": {"average_bits": 1.9, "candidate_bits": (1.6, 2, 4, 5)},
    "symmetric": {"average_bits": 4, "target": "fpga"},
    "mobile": {"average_bits": 5, "target": "mobile"},
    "four-bit activations": {"average_bits": 3, "activation_bits": 4},
    "equalized norms": {"average_bits": 4, "equalize_layernorm": True},
    "float activations": {"average_bits": 3, "activation_bits": None},
}


def quantized(tiny, images, quick_config, head="one", **changes):
    config = quick_config(reconstruction__iterations=3, final__steps=0, **changes)
    return quantize(tiny.model(head), images, config, preprocessing=PREPROCESSING)


@pytest.fixture(scope="module")
def run(tiny, images, quick_config):
    return quantized(tiny, images, quick_config, average_bits=3)


@pytest.fixture(scope="module")
def folder(run, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(run, folder, verify=images, licence="MIT")
    return folder


#: Each export takes seconds: the rest is left to the long run.
QUICK = {("mobile", "mixed")}


@pytest.mark.parametrize(
    ("setting", "variant"),
    [
        pytest.param(name, variant, marks=[pytest.mark.slow] * ((name, variant) not in QUICK))
        for name in SETTINGS
        for variant in ("quantized", "mixed")
    ],
)
def test_the_file_agrees_with_the_model(setting, variant, tiny, images, quick_config, tmp_path):
    run = quantized(tiny, images, quick_config, **SETTINGS[setting])
    found = export_onnx(run, tmp_path, variant=variant, verify=images).provenance["agreement"]
    allowed = 0.5 if "four" in setting else 0.1  # a step of a four-bit quantizer is a sixteenth of its range
    assert found["verdicts"] >= 0.95 and found["largest"] < allowed and found["plain"] < allowed, found


def test_files_in_the_folder(run, folder):
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "model_card.json"}
    model = onnx.load(folder / "model.onnx")
    assert {node.domain for node in model.graph.node} == {""} and model.opset_import[0].version == 18
    assert not model.graph.value_info
    card = Card.read(folder / "model_card.json")
    assert card.bytes["file"] == (folder / "model.onnx").stat().st_size
    assert card.bits == run.bits and card.licence == "MIT" and card.runtime == "1.16"
    assert card.threshold == run.report["threshold"]["quantized"]


def expected_codes(run) -> int:
    """Bytes of all weights by the run's bit map alone: those of one width share a stream."""
    layers = dict(run.quantized.named_modules())
    numbers: dict[float, int] = {}
    for name, bits in run.bits.items():
        numbers[bits] = numbers.get(bits, 0) + layers[name].weight.numel()
    streams = {bits: -(-n // 5) if bits == 1.6 else -(-n // 8) * bits for bits, n in numbers.items()}
    return int(sum(streams.values()))


def test_the_file_is_as_large_as_the_bit_map_says(run, folder):
    card = Card.read(folder / "model_card.json")
    assert card.bytes["codes"] == expected_codes(run)
    assert sum(size for kind, size in card.bytes.items() if kind != "file") == card.bytes["file"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["three levels", "mobile", "symmetric"])
def test_the_file_is_as_large_as_every_bit_map_says(setting, tiny, images, quick_config, tmp_path):
    run = quantized(tiny, images, quick_config, **SETTINGS[setting])
    assert export_onnx(run, tmp_path).bytes["codes"] == expected_codes(run)


def test_any_batch_size_through_the_runtime_package(run, folder, images):
    detector = ExportedDetector(folder / "model.onnx")
    with torch.no_grad():
        wanted = run.quantized(images)[:, 0].numpy()
    for count in (1, 3, 32):
        found = detector.logits(images[:count].numpy())
        assert np.abs(found - wanted[:count]).max() < 0.1 * wanted.std()


def test_matrix_products_run_on_integers(folder):
    _, found = optimized((folder / "model.onnx").read_bytes())
    assert found["MatMulIntegerToFloat"] + found["QLinearMatMul"] >= 6, (
        found
    )  # qkv, two products, proj, two of the MLP
    assert found["QLinearConv"] >= 1, found


def test_the_packed_file_is_smaller_and_says_the_same(run, folder, images, tmp_path):
    export_onnx(run, tmp_path, storage="int8")
    files = [path / "model.onnx" for path in (folder, tmp_path)]
    scores = [open_session(file).run(None, {"image": images.numpy()})[0] for file in files]
    assert np.abs(scores[0] - scores[1]).max() < 1e-5


@pytest.mark.parametrize("pixels", [False, True])
def test_all_classes_but_one_are_fake(images, quick_config, tmp_path, pixels):
    """The file gives the log-odds, or P(fake), of everything that is not real."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )  # fmt: skip
    config = quick_config(reconstruction__iterations=0, final__steps=0)
    output = OutputSpec(real_index=2)
    run = quantize(model, images, config, preprocessing=PREPROCESSING, output=output, out=tmp_path / "run")
    run = load(tmp_path / "run", model)
    assert run.observer.output == output
    export_onnx(run, tmp_path, verify=None if pixels else images[:8], pixels=pixels)
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (verdict,) = predict(tmp_path / "model.onnx", [face])
    with torch.no_grad():
        shares = run.quantized(torch.from_numpy(preprocess_array(Image.fromarray(face), PREPROCESSING))[None])
    expected = 1 - float(shares.softmax(1)[0, 2])
    assert verdict.fake_probability == pytest.approx(expected, abs=0.02)
    assert verdict.is_fake == (verdict.logit > Card.read(tmp_path / "model_card.json").threshold)


@pytest.mark.slow
def test_two_logits_become_one_score(tiny, images, quick_config, tmp_path):
    run = quantized(tiny, images, quick_config, head="two")
    export_onnx(run, tmp_path, verify=images)
    (scores,) = open_session(tmp_path / "model.onnx").run(None, {"image": images.numpy()})
    assert scores.shape == (32,)


def test_a_channel_without_weights_keeps_its_bias(images, quick_config):
    """Its own scale has vanished; counted in that, the bias would not fit in 32 bits."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 1),
    )
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2] = 0.0, 0.7
    config = quick_config(target="mobile", reconstruction__iterations=1, final__steps=0)
    run = quantize(model, images, config, preprocessing=PREPROCESSING)
    layer = run.quantized[0]
    weight = integer_weight(layer, run.bits["0"])
    step = float(activation_grid(layer.input_quant)[0])
    assert not weight.centred[2].any()
    codes = layer.bias.detach().numpy() / (weight.scale / weight.gain * step)
    assert np.abs(codes).max() < 2**31 and np.abs(codes[2]) > 2**20


def test_a_file_that_disagrees_is_not_written(run, images, tmp_path, monkeypatch):
    def broken(layer, bits):
        weight = coded(layer, bits)
        weight.codes[...] = 0
        return weight

    coded = exporter.integer_weight
    monkeypatch.setattr(exporter, "integer_weight", broken)
    with pytest.raises(UserError, match="disagrees with the model"):
        export_onnx(run, tmp_path / "out", verify=images)
    assert not (tmp_path / "out").exists()


def test_a_layer_that_onnx_lacks_is_named(tiny, images, quick_config, tmp_path):
    run = quantized(tiny, images, quick_config, activation_bits=16)
    name = next(iter(run.bits))
    with pytest.raises(UserError, match=f"{name}: 16-bit activations"):
        export_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("full", ["model.onnx", "model_card.json"])
def test_a_full_disk_leaves_nothing(run, tmp_path, full):
    (tmp_path / f".partial-{full}").symlink_to("/dev/full")  # every write to it finds the disk full
    with pytest.raises(UserError, match=f"cannot write .*{full}: No space left on device"):
        export_onnx(run, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"variant": "whole"}, {"storage": "zip"}])
def test_unknown_options(run, tmp_path, options):
    with pytest.raises(UserError, match="choose"):
        export_onnx(run, tmp_path, **options)
