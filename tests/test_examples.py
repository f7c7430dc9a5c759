"""The scripts of ``examples/`` run, with a few steps instead of a minute's."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name: str):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quantize_module(tmp_path, capsys):
    example("quantize_module").main(tmp_path, count=16, iterations=2)
    printed = capsys.readouterr().out
    assert "head: " in printed and "loaded logits are equal: True" in printed


def test_train_widths(capsys):
    example("train_widths").main(steps=100)
    printed = capsys.readouterr().out
    assert "chosen:" in printed and float(printed.split("accuracy: ")[1].split(" ")[0]) > 80


def test_export_and_run(tmp_path, capsys):
    example("export_and_run").main(tmp_path, count=8, iterations=1)
    assert capsys.readouterr().out.count("P(fake)") == 8
    assert (tmp_path / "model.onnx").exists() and (tmp_path / "model_card.json").exists()


def test_read_metrics(tmp_path, capsys):
    module = example("read_metrics")
    module.make_run(tmp_path, count=8, tests=16, iterations=1)
    module.print_metrics(tmp_path)
    printed = capsys.readouterr().out
    assert "quantized: AUC" in printed and "cross domain: AUC" in printed and "% of the size" in printed
    assert printed.count("of 32 images") == 4 and "    flips: 0 of 32 images, 0.00 to 10.72 %" in printed, (
        "of float"
    )


@pytest.mark.fpga
def test_estimate_fpga(tmp_path, capsys):
    example("estimate_fpga").main(tmp_path)
    assert "in all at least 6485 LUT, 22 BRAM18, 32 DSP" in capsys.readouterr().out


def test_every_example_is_run_here():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {file.stem for file in EXAMPLES.glob("*.py")} <= tested
