"""The registry of export formats: a format from outside, refusals, and the command that reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from npz_format import NPZ
from typer.testing import CliRunner

from brevitas_defakeq import UserError, cli, quantize
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.export import ExportFormat, export, export_formats, formats, register_format
from brevitas_defakeq.export.export_card import require_exportable
from brevitas_defakeq.runtime import Card

DATA_FILES = Path(__file__).resolve().parents[1] / "data_files"


@pytest.fixture
def npz(monkeypatch):
    """The format registered, for one test."""
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
    return register_format(NPZ)


@pytest.fixture(scope="module")
def logarithmic(tiny, images, quick_config):
    """A run with logarithmic activations."""
    changes = {"reconstruction__iterations": 1, "final__steps": 0, "activation_quantizer": "log"}
    return quantize(resolve(f"{tiny.__name__}:build", input_size=16), images, quick_config(**changes))


@pytest.fixture(scope="module")
def run(tiny, images, quick_config):
    config = quick_config(reconstruction__iterations=1, final__steps=0)
    detector = resolve(f"{tiny.__name__}:build", input_size=16)
    return quantize(detector, images, config)


@pytest.mark.parametrize("format", formats.format_names())
def test_no_format_holds_logarithmic_activations(format, logarithmic):
    with pytest.raises(UserError, match=rf"^{format} has no form for the logarithmic .* block.* and 1 more"):
        require_exportable(logarithmic, "quantized", format)


def test_a_float_file_has_none(logarithmic, tiny, tmp_path):
    export(logarithmic, tmp_path, "onnx", variant="float", float_model=tiny.build()[0])
    assert (tmp_path / "model.onnx").exists()


def command(*arguments):
    """``defakeq export`` in this process."""
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def check_weights(folder: Path, result, variant: str) -> None:
    """``model.npz`` holds the variant's weights."""
    stored = np.load(folder / "model.npz")
    modules = dict(getattr(result, variant).named_modules())
    assert sorted(stored) == sorted(layer.name for layer in result.plan.layers)
    for name, weight in stored.items():
        assert torch.equal(torch.from_numpy(weight), modules[name].quant_weight().value)


def test_a_format_from_outside_in_python(npz, run, tmp_path):
    content = export(run, tmp_path, "npz", variant="mixed", licence="MIT")
    check_weights(tmp_path, run, "mixed")
    card = Card.read(tmp_path / "model_card.json")
    assert card.to_json() == content and card.format == "npz" and card.licence == "MIT"
    assert card.bytes["file"] == (tmp_path / "model.npz").stat().st_size
    assert npz.render(content).row_count == 1


def test_a_format_from_outside_as_a_command(npz, run, tmp_path):
    run.save(tmp_path / "run")
    out = tmp_path / "out"
    outcome = command(tmp_path / "run", "--format", "npz", "--out", out, "--no-verify", "--json")
    assert outcome.exit_code == 0, outcome.exception
    assert json.loads(outcome.stdout) == Card.read(out / "model_card.json").to_json()
    check_weights(out, run, "quantized")
    assert "npz: dequantized weights for numpy" in command("--help").stdout


def test_an_entry_point_of_another_package(tmp_path):
    """An installed distribution adds a format to the command: no code of it is imported by hand."""
    for name, target in (("npz", "npz_format:NPZ"), ("broken", "npz_format:MISSING")):
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{formats.ENTRY_POINTS}]\n{name} = {target}\n")
    path = os.pathsep.join([str(tmp_path), str(DATA_FILES), os.environ.get("PYTHONPATH", "")])
    arguments = [sys.executable, "-m", "brevitas_defakeq", "export", "--help"]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0 and "npz: dequantized weights for numpy" in done.stdout
    assert "export format broken cannot be used" in done.stderr and "Traceback" not in done.stderr


def test_the_help_names_every_format():
    text = " ".join(command("--help").stdout.split())
    for format in export_formats():
        assert f"{format.name}: {format.description}" in text


@pytest.mark.parametrize(("arguments", "message"), [
    (("--format", "pdf"), "--format pdf: choose of onnx, qonnx, executorch, litert, coreml, finn"),
    (("--format", "litert", "--pixels"), "--pixels is for --format onnx, not litert"),
    (("--format", "qonnx", "--storage", "int8"), "--storage is for --format onnx or transformersjs, not"),
    (("--check",), "--check is for --format finn, not onnx"),
    (("--format", "finn", "--licence", "MIT"), "--licence is for --format onnx or qonnx or"),
    (("--format", "coreml", "--which", "float"), "--which float: choose of quantized, mixed"),
])  # fmt: skip
def test_refusals_before_the_run_is_read(arguments, message):
    refusal = command("no_such_run", "--out", "x", *arguments).exception
    assert isinstance(refusal, UserError) and message in str(refusal) and "\n" not in str(refusal)


def test_refusals_in_python(npz, run, tmp_path):
    for options, message in (
        ({"format": "npz", "pixels": True}, "--pixels is for --format onnx, not npz"),
        ({"format": "npz", "colour": 1}, "no export format has an option 'colour'"),
        ({"format": "npz", "variant": "float"}, "choose of quantized, mixed"),
        ({"format": "onnx", "variant": "best"}, "variant='best': choose of quantized, mixed, float"),
    ):
        with pytest.raises(UserError, match=message):
            export(run, tmp_path, **options)
    with pytest.raises(UserError, match="'onnx' is registered already"):
        register_format(formats.ExportFormat(name="onnx", description="another", exporter=print))
    assert register_format(npz) is npz and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("fields", "message"), [
    ({"exporter": "no_such_module:f"}, "export format odd: 'no_such_module:f' cannot be imported"),
    ({"exporter": "json:no_such_name"}, "'json:no_such_name' cannot be imported"),
    ({"exporter": "json:__doc__"}, "cannot be called; give a function"),
    ({"exporter": print, "package": "no_such.package"}, "odd needs no_such.package: pip install"),
    ({"exporter": lambda *_, **__: None}, "odd: its exporter returned nothing"),
    ({"exporter": print, "variants": "mixed"}, "odd: variants='mixed': give a tuple of quantized"),
])  # fmt: skip
def test_a_wrong_entry_is_told_in_one_line(fields, message, run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_FORMATS", dict(formats._FORMATS))
    with pytest.raises(UserError, match=message):
        register_format(ExportFormat(name="odd", description="", **fields))
        export(run, tmp_path, "odd")
