"""A layer kind registered from outside the package goes all the way: plan, run, run folder, ONNX file."""

from dataclasses import replace

import brevitas.nn as qnn
import conv3d_kind
import onnx
import pytest
import torch
from torch import nn

from brevitas_defakeq import UserError, export_onnx, load, quantize
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.export import executorch
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.export.onnx_modules import ONNX_MODULES, OnnxConvolution
from brevitas_defakeq.nn import layer_kinds
from brevitas_defakeq.nn.convolution import convolution_kind
from brevitas_defakeq.nn.layer_kinds import find_layer_kind, register_layer_kind


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(layer_kinds, "_KINDS", dict(layer_kinds._KINDS))  # taken back after the test
    register_layer_kind(conv3d_kind.CONV3D)


@pytest.fixture
def run(images, labels, quick_config):
    def made(target):
        config = quick_config(target=target, reconstruction__iterations=3, final__steps=0)
        return quantize(resolve("conv3d_kind:build"), images, config, labels=labels)

    return made


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("target", ["any", "mobile"])
def test_a_registered_kind_is_quantized_saved_and_exported(run, target, images, tmp_path):
    result = run(target)
    assert list(result.bits) == ["volume", "flat", "head"]
    assert result.plan.layers[0].kind == "Conv3d"
    assert result.plan.folds == (("volume", "norm"),)
    layer = result.quantized.volume
    assert find_layer_kind(layer) is conv3d_kind.CONV3D
    assert len(layer.weight[0].unique()) <= 2 ** round(result.bits["volume"])

    result.save(tmp_path / "run")
    again = load(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(again.quantized(images), result.quantized(images))

    export_onnx(again, tmp_path / "onnx", verify=images)  # refused where file and model disagree
    nodes = onnx.load(tmp_path / "onnx" / "model.onnx").graph.node
    assert [node.op_type for node in nodes].count("Conv") == 2


def test_without_registration_the_layer_stays_float_with_a_reason(run):
    result = run("any")
    assert list(result.bits) == ["flat", "head"]
    assert result.plan.left_float["volume"] == "Conv3d has no quantized form here"
    assert type(result.quantized.volume) is nn.Conv3d


@pytest.mark.parametrize(
    ("classes", "dims"),
    [
        ((nn.Conv3d, qnn.QuantConv3d), 4),
        ((nn.Conv3d, qnn.QuantConv2d), 3),
        ((nn.ConvTranspose2d, qnn.QuantConvTranspose2d), 2),
        ((nn.Linear, qnn.QuantLinear), 2),
    ],
)
def test_classes_that_are_no_convolution_are_refused(classes, dims):
    with pytest.raises(TypeError, match=f"is no convolution over {dims} dimensions"):
        convolution_kind(*classes, dims=dims)


@pytest.mark.usefixtures("registered")
def test_integer_modules_hold_the_same_layer(run, images):
    result = run("mobile")
    made, weights = integer_export_modules(result, result.quantized, executorch.EXECUTORCH.layers)
    with torch.no_grad():
        found = torch.cat([made(image[None]) for image in images])
        wanted = result.observer(result.quantized, images)[0]
    assert weights["volume"].codes.shape == (8, 1, 3, 3, 3)
    assert (found - wanted).abs().max() < 0.05 * wanted.std()


@pytest.mark.usefixtures("registered")
def test_a_kind_with_export_modules_of_its_own(run, tmp_path, monkeypatch):
    register_layer_kind(replace(conv3d_kind.CONV3D, export_modules="volume"))
    result = run("any")
    with pytest.raises(UserError, match="volume: this format has no export module for Conv3d"):
        export_onnx(result, tmp_path)
    monkeypatch.setitem(ONNX_MODULES, "volume", OnnxConvolution)
    export_onnx(result, tmp_path)
