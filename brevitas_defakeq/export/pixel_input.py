"""Pixels in, probability out: the preprocessing and the sigmoid as operators of the graph itself."""

from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper
from torch import Tensor

from brevitas_defakeq.export.batch_size import batch_of
from brevitas_defakeq.export.constant_pool import Constants
from brevitas_defakeq.export.graph_writer import INPUT, OUTPUT
from brevitas_defakeq.imaging.preprocessing import OPENCV_FILTERS, Preprocessing
from brevitas_defakeq.utils.errors import UserError

PIXELS, PROBABILITY = "pixels", "probability"
#: The filter -> the attributes of Resize that do the same. ("nearest" takes other neighbours at ties.)
_RESIZE: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear", "antialias": 1, "exclude_outside": 1},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5, "antialias": 1, "exclude_outside": 1},
    "cv2_linear": {"mode": "linear"},
    "cv2_cubic": {"mode": "cubic", "cubic_coeff_a": -0.75},
}


def take_pixels_(model: ModelProto, preprocessing: Preprocessing, constants: Constants) -> None:
    """The graph takes uint8 RGB [N, H, W, 3] of any height and width, and gives P(fake) [N].

    The resize gives bytes as PIL's or OpenCV's does; the division and the normalisation are
    ``preprocess_array``'s, in its order.

    Raises:
        UserError: the filter is none that ONNX has.
    """
    if preprocessing.interpolation not in _RESIZE:
        raise UserError(
            f"interpolation={preprocessing.interpolation!r} cannot be written as ONNX; export without "
            f"--pixels, or use one of {', '.join(_RESIZE)}"
        )
    if preprocessing.fit != "stretch":
        raise UserError(f"fit={preprocessing.fit!r} cannot be written as ONNX; export without --pixels")
    graph, batch = model.graph, batch_of(model) or "batch"
    sides = constants.array(np.array(preprocessing.input_size))
    node = helper.make_node
    front = [
        node("Transpose", [PIXELS], ["pixels.planes"], perm=[0, 3, 1, 2]),
        node("Shape", ["pixels.planes"], ["pixels.kept"], end=2),
        # All four sides, not `axes`: ONNX Runtime moves the Transpose but leaves the axes as they were.
        node("Concat", ["pixels.kept", sides], ["pixels.sizes"], axis=0),
        *_resized(preprocessing.interpolation, constants),
    ]
    value = "pixels.float"
    mean, std = (np.asarray(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
    steps = (("Div", np.asarray(255, np.float32)), ("Sub", mean), ("Div", std))
    for index, (operator, operand) in enumerate(steps):
        result = INPUT if index == len(steps) - 1 else f"pixels.{index}"
        constant = constants.array(operand.reshape(-1, 1, 1))
        front.append(node(operator, [value, constant], [result]))
        value = result
    nodes = [*front, *graph.node, node("Sigmoid", [OUTPUT], [PROBABILITY])]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    shape: list[str | int | None] = [batch, "height", "width", 3]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, [batch]))


def _resized(interpolation: str, constants: Constants) -> list[NodeProto]:
    """From "pixels.planes" to "pixels.float": PIL's filters on bytes, OpenCV's on numbers, rounded."""
    node, options = helper.make_node, _RESIZE[interpolation]

    def resize(source: str, result: str) -> NodeProto:
        return node("Resize", [source, "", "", "pixels.sizes"], [result], **options)

    def cast(source: str, result: str) -> NodeProto:
        return node("Cast", [source], [result], to=TensorProto.FLOAT)

    if interpolation not in OPENCV_FILTERS:
        return [resize("pixels.planes", "pixels.resized"), cast("pixels.resized", "pixels.float")]
    lowest, highest = (constants.array(np.float32(value)) for value in (0, 255))
    return [
        cast("pixels.planes", "pixels.numbers"),
        resize("pixels.numbers", "pixels.resized"),
        node("Round", ["pixels.resized"], ["pixels.rounded"]),
        node("Clip", ["pixels.rounded", lowest, highest], ["pixels.float"]),
    ]


def pixels_of(images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """The uint8 pixels [N, H, W, 3] that preprocessing turns into ``images`` [N, 3, H, W]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()
