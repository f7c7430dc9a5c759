"""User errors are one line with status 2."""

import importlib.util

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

HAS_FINN = importlib.util.find_spec("finn") is not None
USUAL = ("--target", "estimate", "--board", "Pynq-Z1", "--out", "out")


def graph(*nodes, inputs=((1, 3, 8, 8),), constants=()):
    ends = [
        helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, shape) for n, shape in enumerate(inputs)
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    body = helper.make_graph(list(nodes), "g", ends, [out], list(constants))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9)


def quant(zero_point=0.0):
    """One quantizer from x0 to y, and its constants."""
    values = {"scale": 0.1, "zero": zero_point, "bits": 8.0}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in values.items()]
    node = helper.make_node(
        "Quant", ["x0", *values], ["y"], domain="qonnx.custom_op.general", signed=1, narrow=0,
        rounding_mode="ROUND",
    )  # fmt: skip
    return node, constants


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--board", "DE10"), "--board DE10: unknown; choose one of Pynq-Z1"),
        (("--target", "asic"), "--target asic: unknown; choose one of estimate, rtlsim, ecp5, zynq, versal"),
        (("--target", "rtlsim"), "--target rtlsim: a simulation of the stitched RTL is not implemented yet"),
        (
            ("--target", "ecp5"),
            "--target ecp5: .* is not implemented yet; choose one of estimate, zynq, versal",
        ),
        (("--target", "versal"), "--target versal: Pynq-Z1 needs --target zynq"),
        (("--board", "ECP5-85"), "--board ECP5-85: only --target ecp5 builds for it"),
        (("--fps", "0"), "--fps: 0: frames per second must be a number above 0"),
        (("--fps", "fast"), "--fps: fast: frames per second must be a number above 0"),
        (("--fps", "10", "--fit"), "--fit: not allowed with argument --fps"),
        (("--frames", "10"), "unrecognized arguments: --frames 10"),
    ],
)
def test_options(capsys, arguments, said):
    from hw.build import main

    assert main(["model.onnx", *USUAL, *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("hw/build.py: ") and errors.count("\n") == 1
    with pytest.raises(AssertionError, match=said):  # `match` for its regular expressions
        raise AssertionError(errors)


@pytest.mark.skipif(HAS_FINN, reason="says what is missing where FINN is missing")
def test_without_finn(capsys):
    from hw.build import main

    assert main(["model.onnx", *USUAL]) == 2
    assert 'pip install "brevitas-defakeq[fpga]"' in capsys.readouterr().err


def test_missing_extra_is_named(monkeypatch):
    from brevitas_defakeq import UserError
    from hw.finn_quirks import require_finn

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="qonnx and finn cannot be imported; install the extra"):
        require_finn()


@pytest.mark.fpga
def test_an_out_that_cannot_be_written(tmp_path, capsys):
    from hw.build import main

    (tmp_path / "file").write_text("")
    assert main(["model.onnx", *USUAL, "--out", str(tmp_path / "file" / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.fpga
def test_other_files_are_named_in_the_error(tmp_path):
    from brevitas_defakeq import UserError
    from hw.read_profile import read_profile

    relu = helper.make_node("Relu", ["x0"], ["y"])
    linear = helper.make_node("QuantizeLinear", ["x0", "s"], ["y"])
    node, constants = quant()
    turned, shifted = quant(3.0)
    hardware = helper.make_node("MVAU", ["x0"], ["y"], domain="finn.custom_op.fpgadataflow")
    add = helper.make_node("Add", ["x0", "x1"], ["z"])
    cases = {
        "a floating-point network": graph(relu),
        "a network quantized for ONNX Runtime": graph(linear),
        "QONNX with a floating-point input": graph(node, constants=constants),
        "QONNX with zero points": graph(turned, constants=shifted),
        "a graph of FINN's hardware layers": graph(hardware),
        "QONNX with 2 inputs and 1 outputs": graph(add, node, inputs=[(1, 3, 8, 8)] * 2, constants=constants),
        r"QONNX with the input shape \[4, 3, 8, 8\]": graph(node, inputs=[(4, 3, 8, 8)], constants=constants),
        "an empty graph": graph(),
    }
    for said, model in cases.items():
        path = tmp_path / "model.onnx"
        onnx.save(model, str(path))
        with pytest.raises(UserError, match=f"is {said}.*not a FINN profile; create the profile with"):
            read_profile(path)
    path.write_bytes(b"\x89PNG" * 40)
    with pytest.raises(UserError, match="is not an ONNX file"):
        read_profile(path)
    with pytest.raises(UserError, match="does not exist"):
        read_profile(tmp_path / "nowhere.onnx")


@pytest.mark.fpga
def test_inputs_to_verify_on():
    from qonnx.core.datatype import DataType

    from brevitas_defakeq import UserError
    from hw.verify_steps import checked_inputs

    shape, kind = [1, 3, 4, 4], DataType["INT8"]
    good = np.full((2, 3, 4, 4), 127)
    assert checked_inputs(good, shape, kind) is good
    bad = {
        "NaN": np.full((1, 3, 4, 4), np.nan), "shape": np.zeros((3, 4, 4)), "from -128 to 127": good + 1,
        "quantize the images": np.full((1, 3, 4, 4), 0.5), "no numbers": np.full((1, 3, 4, 4), "a"),
    }  # fmt: skip
    for said, values in bad.items():
        with pytest.raises(UserError, match=said):
            checked_inputs(values, shape, kind)


@pytest.mark.fpga
def test_nodes_without_hardware_are_named_with_the_reason():
    from qonnx.core.modelwrapper import ModelWrapper

    from hw.unmapped_nodes import unmapped_reasons

    product = helper.make_node("MatMul", ["x0", "w"], ["a"], name="MatMul_3")
    layer = helper.make_node("Thresholding", ["a"], ["b"], domain="finn.custom_op.fpgadataflow")
    odd = helper.make_node("HardSwish", ["b"], ["y"], name="HardSwish_0")
    weights = helper.make_tensor("w", TensorProto.FLOAT, [8, 8], np.ones(64))
    lacking = unmapped_reasons(ModelWrapper(graph(product, layer, odd, constants=[weights])))
    assert lacking == [
        "MatMul_3: its input x0 is FLOAT32, not quantized, or its scale could not be moved past it",
        "HardSwish_0: FINN has no layer for HardSwish here",
    ]


@pytest.mark.fpga
def test_what_a_step_raises_becomes_one_line(tmp_path, capsys, monkeypatch):
    """FINN's own errors: status 1, no traceback."""
    import hw.build_steps
    from hw.build import main

    relu = helper.make_node("Relu", ["q"], ["y"])
    node, constants = quant()
    node.output[0] = "q"
    model = graph(node, relu, constants=constants)
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    wrapped = ModelWrapper(model).transform(InferShapes())
    wrapped.set_tensor_datatype("x0", DataType["INT8"])
    wrapped.save(str(tmp_path / "model.onnx"))

    def broken(name, step, graph):
        return _run_step(name, lambda graph: 1 / 0, graph)

    _run_step = hw.build_steps._run_step
    monkeypatch.setattr(hw.build_steps, "_run_step", broken)
    status = main([str(tmp_path / "model.onnx"), *USUAL, "--out", str(tmp_path / "out")])
    assert status == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("hw/build.py: step tidy failed (ZeroDivisionError")
    )
