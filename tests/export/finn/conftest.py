"""Faithful QONNX graphs made by hand, node by node, and what they compute."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

QONNX_DOMAIN = "qonnx.custom_op.general"


class Network:
    """A QONNX graph that grows from the image [1, 3, size, size]; values are named as they come.

    Args:
        size: height and width of the image.
        seed: of the weights.
    """

    def __init__(self, size: int = 8, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self.size, self.nodes, self.constants = size, [], []
        self.channels = {"image": 3}

    def constant(self, values, name: str = "constant") -> str:
        name = f"{name}_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], name: str = "", outputs: int = 1, **attributes):
        """A node; the name of its result, or of its results."""
        name = name or f"{operator}_{len(self.nodes)}"
        results = [f"{name}.out{number}" for number in range(outputs)]
        domain = QONNX_DOMAIN if operator == "Quant" else ""
        self.nodes.append(helper.make_node(operator, inputs, results, name, domain=domain, **attributes))
        for result in results:
            self.channels[result] = self.channels.get(inputs[0], 0)
        return results[0] if outputs == 1 else results

    def quant(self, value, scale, bits=8, *, zero=0, signed=True, narrow=False, name="", rounding="ROUND"):
        """A quantizer, of the image's values or of a constant."""
        numbers = [self.constant(np.asarray(number, np.float32)) for number in (scale, zero, bits)]
        return self.node(
            "Quant", [value, *numbers], name, signed=int(signed), narrow=int(narrow), rounding_mode=rounding
        )

    def weights(self, shape, bits, *, axis, zero=False, signed=True):
        """Quantized weights with a scale for each channel along ``axis``; zero points where asked for."""
        along = [size if place == axis else 1 for place, size in enumerate(shape)]
        fan_in = np.prod(shape) / shape[axis]
        values = self.draw.normal(0, 1, shape) / np.sqrt(fan_in)
        scale = (2.5 / np.sqrt(fan_in) / 2 ** (bits - 1) * self.draw.uniform(0.8, 1.2, along)).astype(
            np.float32
        )
        zeros = self.draw.integers(1, 2**bits - 1, along) if zero else 0
        signed = signed and not zero
        return self.quant(
            self.constant(values.astype(np.float32)), scale, bits, zero=zeros, signed=signed, narrow=signed
        )

    def conv(
        self, value, name, channels, kernel=3, *, bits=4, stride=1, pad=None, groups=1, zero=False, bias=True,
        weights=None,
    ):  # fmt: skip
        """A quantized convolution that reads ``value`` as it is; ``groups=0``: depthwise."""
        inputs = self.channels[value]
        groups = groups or inputs
        shape = [channels, inputs // groups, kernel, kernel]
        read = [value, weights or self.weights(shape, bits, axis=0, zero=zero)]
        if bias:
            read.append(self.constant(self.draw.normal(0, 0.2, channels).astype(np.float32)))
        pads = [kernel // 2] * 4 if pad is None else pad
        result = self.node(
            "Conv", read, name, group=groups, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads,
            dilations=[1, 1],
        )  # fmt: skip
        self.channels[result] = channels
        return result

    def linear(self, value, name, outputs, inputs, *, bits=4, zero=False, weights=None):
        """MatMul and Add, as torch's Linear becomes."""
        read = weights or self.weights([inputs, outputs], bits, axis=1, zero=zero)
        product = self.node("MatMul", [value, read], name)
        self.channels[product] = outputs
        return self.node(
            "Add", [product, self.constant(self.draw.normal(0, 0.2, outputs).astype(np.float32))]
        )

    def pool(self, value):
        """The mean over the map, [1, C]."""
        pooled = self.node("GlobalAveragePool", [value])
        return self.node("Flatten", [pooled], axis=1)

    def model(self, output: str):
        """The ONNX model that ends at ``output``; shapes inferred, as the export cleans it."""
        from brevitas_defakeq.export.finn.finn_profile import normalize_qonnx

        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, self.size, self.size])
        end = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", [image], [end], self.constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(QONNX_DOMAIN, 1)]
        return normalize_qonnx(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def execute(model, values) -> np.ndarray:
    """The output of a model, by qonnx's executor."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    (answer,) = execute_onnx(ModelWrapper(model), {model.graph.input[0].name: values}).values()
    return answer


def through_host(profile, image: np.ndarray) -> float:
    """The logit of one image [1, 3, H, W] by the arithmetic that host.json describes, written out."""
    host = json.loads(json.dumps({"input": profile.input.to_dict(), "output": profile.output.to_dict()}))
    given, back = host["input"], host["output"]
    codes = image / np.float32(given["scale"]) + np.float32(given["zero_point"])
    codes = np.round(np.clip(codes, given["low"], given["high"]))
    integers = execute(profile.model, codes - np.float32(given["zero_point"]))
    assert (integers == np.round(integers)).all()
    return float((integers.ravel() * np.array(back["scale"])).sum() + back["bias"])


@pytest.fixture(scope="session")
def network():
    """The class ``Network``."""
    return Network


@pytest.fixture(scope="session")
def executed():
    """``executed(model, values)``."""
    return execute


@pytest.fixture(scope="session")
def hosted():
    """``hosted(profile, image)``."""
    return through_host
