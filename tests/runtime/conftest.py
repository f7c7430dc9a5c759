"""Exported folders with tiny graphs whose answer is worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper, save

from brevitas_defakeq.runtime import Card

#: The graph is ``WEIGHT @ (mean of each channel) + BIAS``.
WEIGHT, BIAS = np.float32([[2.0, -1.0, 0.5]]), np.float32([0.25])
SIZE = (6, 4)


def card_content(**changes) -> dict:
    """A valid card, as JSON; ``input__dtype="uint8"`` changes a nested field."""
    content = {
        "format_version": 1,
        "name": "tiny",
        "format": "onnx",
        "input": {
            "size": list(SIZE), "layout": "NCHW", "dtype": "float32", "mean": [0.5, 0.4, 0.3],
            "std": [0.5, 0.25, 0.2], "interpolation": "bilinear", "fit": "stretch",
            "crop": "box", "crop_margin": 0.3,
        },
        "output": {"kind": "logit", "fake_index": 1},
        "threshold": 0.0,
        "runtime": "1.16",
        "bits": {"head": 8, "conv": 1.6},
        "bytes": {"weights": 12, "graph": 300},
        "patterns": {"LUT3": 1},
        "auc": {"quantized": 0.97},
        "licence": None,
        "provenance": {"seed": 0},
    }  # fmt: skip
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        (content[part] if part else content)[field] = value
    return content


def save_graph(
    path: Path, *, dtype="float32", layout="NCHW", weight=WEIGHT, bias=BIAS, shape=None, last=None
) -> Path:
    """Channel means -> Gemm -> ``last``; ``shape`` is the input's, with words for free sides."""
    height, width = SIZE
    shape = shape or (["N", 3, height, width] if layout == "NCHW" else ["N", height, width, 3])
    kind = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[dtype]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], keepdims=0,
                         axes=[2, 3] if layout == "NCHW" else [1, 2]),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["scores"], transB=1),
        helper.make_node(last or "Identity", ["scores"], ["verdict"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("verdict", TensorProto.FLOAT, ["M", len(bias)])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return path


@pytest.fixture
def content():
    """``content(threshold=1.0, input__dtype="uint8")``: a card as JSON."""
    return card_content


@pytest.fixture
def graph():
    """``graph(path, dtype=..., ...)``: a tiny ONNX file."""
    return save_graph


@pytest.fixture
def exported(tmp_path):
    """``exported(card={...}, **graph)``: a folder with model and card; gives the model's path."""

    def make(card=None, **graph):
        changes = {f"input__{key}": graph[key] for key in ("dtype", "layout") if key in graph}
        Card.from_json(card_content(**changes, **(card or {}))).write(tmp_path / "model_card.json")
        return save_graph(tmp_path / "model.onnx", **graph)

    return make


@pytest.fixture
def noise():
    """``noise(height, width, seed)``: uint8 pixels [H, W, 3]."""

    def draw(height=SIZE[0], width=SIZE[1], seed=0):
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw


@pytest.fixture
def by_hand():
    """The logit of pixels [H, W, 3] that have the input's size already, in float64."""

    def logit(pixels):
        normalised = (pixels / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.5, 0.25, 0.2])
        return float(WEIGHT[0] @ normalised.mean(axis=(0, 1)) + BIAS[0])

    return logit
