"""Runs exported for ExecuTorch, LiteRT and Core ML, each where its extra is installed."""

import importlib.util

import numpy as np
import pytest
import torch

from brevitas_defakeq import UserError, export_mobile, quantize
from brevitas_defakeq.export.coreml import COREML
from brevitas_defakeq.export.formats import get_format
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.export.mobile import mobile_exporter
from brevitas_defakeq.export.weight_modules import FloatWeight
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import Card

FORMATS = ("executorch", "litert", "coreml")
PREPROCESSING = Preprocessing((16, 16))


def installed(format: str) -> bool:
    return importlib.util.find_spec(get_format(format).package) is not None


def needs(format: str) -> list:
    skipped = pytest.mark.skipif(not installed(format), reason=f"the extra {format} is not installed")
    return [pytest.mark.slow, skipped]


@pytest.fixture(scope="module")
def run(tiny, images, quick_config):
    config = quick_config(
        average_bits=3,
        target="mobile",
        reconstruction__iterations=3,
        final__steps=0,
        candidate_bits=(1.6, 2, 3, 4, 5, 6, 8),
    )
    return quantize(tiny.model("one"), images, config, preprocessing=PREPROCESSING)


@pytest.mark.parametrize("variant", ["quantized", "mixed"])
@pytest.mark.parametrize(
    "format", [pytest.param(name, marks=needs(name)) for name in ("executorch", "litert")]
)
def test_the_file_agrees_with_the_model(run, images, format, variant, tmp_path):
    card = export_mobile(run, tmp_path, format=format, variant=variant, verify=images, licence="MIT")
    found = card.provenance["agreement"]
    assert found["verdicts"] >= 0.95 and found["difference"] < 0.05, found
    file = tmp_path / mobile_exporter(format).file
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "model_card.json"}
    assert card.bytes["file"] == file.stat().st_size
    read = Card.read(tmp_path / "model_card.json")
    assert read.format == format and read.licence == "MIT" and read.input.dtype == "float32"


def dense(operator) -> np.ndarray:
    """The values of a compressed constant of Core ML."""
    if operator.op_type != "constexpr_lut_to_dense":
        return operator.materialized_val_inference()
    indices, table = operator.indices.val, operator.lut.op.materialized_val_inference()
    rows = len(indices)
    return np.take_along_axis(table.reshape(rows, -1), indices.reshape(rows, -1).astype(int), axis=1).reshape(
        indices.shape
    )


@pytest.mark.parametrize("variant", ["quantized", "mixed"])
@pytest.mark.parametrize("format", [pytest.param("coreml", marks=needs("coreml"))])
def test_the_package_holds_the_weights_of_the_model(run, images, format, variant, tmp_path):
    """Core ML runs on Apple's systems only: here its weights are unpacked and compared."""
    import coremltools

    card = export_mobile(run, tmp_path, format=format, variant=variant, verify=images)
    assert card.provenance["agreement"] is None
    model = coremltools.models.MLModel(str(tmp_path / COREML.file), skip_model_load=True)
    operators = coremltools.converters.mil.frontend.milproto.load.load(
        model._spec, specification_version=model._spec.specificationVersion,
        file_weights_dir=str(tmp_path / COREML.file / "Data/com.apple.CoreML/weights"),
    ).functions["main"].operations  # fmt: skip
    unpacked = [dense(operator) for operator in operators if operator.op_type.startswith("constexpr")]
    _, weights = integer_export_modules(run, getattr(run, variant), COREML.layers)
    for name, weight in weights.items():
        wanted = FloatWeight(weight).weight.numpy()
        close = [
            np.allclose(found, wanted, rtol=1e-3, atol=1e-7)
            for found in unpacked
            if found.shape == wanted.shape
        ]
        assert any(close), name


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("variant", ["quantized", "mixed"])
def test_the_export_modules_agree_with_the_model(run, images, format, variant):
    """In torch, before any converter: integers, zero points and paddings are the run's."""
    network = getattr(run, variant)
    made, _ = integer_export_modules(run, network, mobile_exporter(format).layers)
    with torch.no_grad():
        found = torch.cat([made(image[None]) for image in images])
        wanted = run.observer(network, images)[0]
    assert (found - wanted).square().mean().sqrt() < 0.05 * wanted.std()


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_extra_is_named(run, format, tmp_path):
    if installed(format):
        pytest.skip("it is installed")
    with pytest.raises(UserError, match=rf"pip install 'brevitas_defakeq\[{format}\]'"):
        export_mobile(run, tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()


def test_unknown_formats_and_variants(run, tmp_path):
    with pytest.raises(UserError, match="choose of onnx, qonnx, executorch, litert, coreml"):
        export_mobile(run, tmp_path, format="ncnn")
    with pytest.raises(UserError, match="choose of quantized, mixed"):
        export_mobile(run, tmp_path, format="executorch", variant="float")
