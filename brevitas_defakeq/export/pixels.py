"""Pixels in, probability out: the preprocessing and the sigmoid as operators of the graph itself."""

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor

from brevitas_defakeq.data.preprocessing import Preprocessing
from brevitas_defakeq.errors import UserError
from brevitas_defakeq.export.constants import Constants
from brevitas_defakeq.export.graph import INPUT, OUTPUT

PIXELS, PROBABILITY = "pixels", "probability"
#: PIL's filter -> the attributes of Resize that do the same. ("nearest" takes other neighbours at ties.)
_RESIZE = {"bilinear": {"mode": "linear"}, "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5}}


def take_pixels_(model: ModelProto, preprocessing: Preprocessing, constants: Constants) -> None:
    """The graph takes uint8 RGB [N, H, W, 3] of any height and width, and gives P(fake) [N].

    The resize works on bytes as PIL's does; the division and the normalisation are ``preprocess_array``'s, in
    its order.

    Raises:
        UserError: the filter is none that ONNX has.
    """
    if preprocessing.interpolation not in _RESIZE:
        raise UserError(
            f"interpolation={preprocessing.interpolation!r} has no ONNX form; export without --pixels, "
            f"or use one of {', '.join(_RESIZE)}"
        )
    graph = model.graph
    sides = constants.array(np.array(preprocessing.input_size))
    node = helper.make_node
    front = [
        node("Transpose", [PIXELS], ["pixels.planes"], perm=[0, 3, 1, 2]),
        node("Shape", ["pixels.planes"], ["pixels.kept"], end=2),
        # All four sides, not `axes`: ONNX Runtime moves the transposition and forgets to move those.
        node("Concat", ["pixels.kept", sides], ["pixels.sizes"], axis=0),
        node(
            "Resize", ["pixels.planes", "", "", "pixels.sizes"], ["pixels.resized"], antialias=1,
            exclude_outside=1, **_RESIZE[preprocessing.interpolation],
        ),
        node("Cast", ["pixels.resized"], ["pixels.float"], to=TensorProto.FLOAT),
    ]  # fmt: skip
    value = "pixels.float"
    steps = (("Div", 255.0), ("Sub", preprocessing.mean), ("Div", preprocessing.std))
    for index, (operator, operand) in enumerate(steps):
        result = INPUT if index == len(steps) - 1 else f"pixels.{index}"
        constant = constants.array(np.float32(operand).reshape(-1, 1, 1))
        front.append(node(operator, [value, constant], [result]))
        value = result
    nodes = [*front, *graph.node, node("Sigmoid", [OUTPUT], [PROBABILITY])]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    shape = ["batch", "height", "width", 3]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info(PROBABILITY, TensorProto.FLOAT, ["batch"]))


def pixels_of(images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """The uint8 pixels [N, H, W, 3] whose preprocessed form is ``images`` [N, 3, H, W]."""
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (preprocessing.mean, preprocessing.std))
    values = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return values.permute(0, 2, 3, 1).contiguous().numpy()
