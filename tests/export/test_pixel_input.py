"""Preprocessing inside the graph, against PIL."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from brevitas_defakeq import UserError
from brevitas_defakeq.export.constant_pool import Constants
from brevitas_defakeq.export.graph_writer import INPUT, OUTPUT
from brevitas_defakeq.export.pixel_input import PIXELS, pixels_of, take_pixels_
from brevitas_defakeq.imaging.preprocessing import Preprocessing, preprocess_array
from brevitas_defakeq.runtime.onnx_file import open_session

SIZES = [(32, 48), (100, 75), (17, 19), (200, 260), (1, 5)]
#: Preprocessed values differ where PIL's fixed-point filter and the runtime's round a byte differently.
STEP = 1 / 255


def graph(preprocessing: Preprocessing):
    """A model that hands out its preprocessed input, with the sigmoid of its first value."""
    height, width = preprocessing.input_size
    constants = Constants()
    nodes = [
        helper.make_node("Identity", [INPUT], ["preprocessed"]),
        helper.make_node("ReduceMean", [INPUT, constants.array(np.array([1, 2, 3]))], [OUTPUT], keepdims=0),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((INPUT, ["batch", 3, height, width]), (OUTPUT, ["batch"]))
    ]
    made = helper.make_graph(nodes, "test", ports[:1], ports[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    take_pixels_(model, preprocessing, constants)
    constants.write_(model)
    model.graph.output.append(
        helper.make_tensor_value_info("preprocessed", TensorProto.FLOAT, ["batch", 3, height, width])
    )
    return open_session(model.SerializeToString())


@pytest.mark.parametrize(
    ("interpolation", "mean_off"),
    # OpenCV's linear filter cuts digits off, which a graph of numbers does not
    [("bilinear", 0.01), ("bicubic", 0.01), ("cv2_cubic", 0.01), ("cv2_linear", 0.2)],
)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_as_it_is_preprocessed(interpolation, mean_off, size):
    preprocessing = Preprocessing((24, 32), interpolation, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    _, preprocessed = graph(preprocessing).run(None, {PIXELS: pixels})
    wanted = np.stack([preprocess_array(Image.fromarray(image), preprocessing) for image in pixels])
    off = (
        np.abs(preprocessed - wanted) * np.float32(preprocessing.std).reshape(3, 1, 1) / STEP
    )  # in grey values
    assert off.max() < 1.01 and off.mean() < mean_off, (off.max(), off.mean())


def test_a_filter_that_onnx_lacks():
    with pytest.raises(UserError, match="lanczos.*--pixels"):
        graph(Preprocessing((24, 32), "lanczos"))


def test_a_centre_crop_stays_outside():
    with pytest.raises(UserError, match="fit='centre'.*--pixels"):
        graph(Preprocessing((24, 32), fit="centre"))


def test_pixels_of_preprocessed_images():
    preprocessing = Preprocessing((24, 32), "bilinear", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    images = torch.from_numpy(preprocess_array(Image.fromarray(image), preprocessing))[None]
    assert np.array_equal(pixels_of(images, preprocessing)[0], image)
