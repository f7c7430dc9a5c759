"""The rewrites, one by one, on graphs made by hand."""

import numpy as np
import pytest
from onnx import numpy_helper

pytestmark = pytest.mark.fpga


@pytest.fixture
def profiled(executed, hosted):
    """``profiled(model)``: its profile, held to the model on random images."""
    from brevitas_defakeq.export.finn.check_finn import check_graph
    from brevitas_defakeq.export.finn.findings import unmappable
    from brevitas_defakeq.export.finn.finn_profile import finn_profile

    def run(model, count=4):
        assert not unmappable(check_graph(model))
        profile = finn_profile(model)
        shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
        images = np.random.default_rng(3).normal(0, 0.7, (count, *shape[1:])).astype(np.float32)
        wanted = np.array([executed(model, image[None]).item() for image in images])
        found = np.array([hosted(profile, image[None]) for image in images])
        assert np.ptp(wanted) > 0
        np.testing.assert_allclose(
            found, wanted, rtol=0, atol=1e-5 * max(np.ptp(wanted), np.abs(wanted).max())
        )
        return profile

    return run


def kinds(profile) -> list[str]:
    return [node.op_type for node in profile.model.graph.node]


def named(profile, name):
    return next(node for node in profile.model.graph.node if node.name == name)


def constant(profile, name) -> np.ndarray:
    return numpy_helper.to_array(next(t for t in profile.model.graph.initializer if t.name == name))


def attributes(node) -> dict:
    from onnx import helper

    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def weights_of(profile, layer) -> tuple[np.ndarray, int, dict]:
    """A layer's integers, their width, and the attributes of their quantizer."""
    quant = next(n for n in profile.model.graph.node if n.output[0] == named(profile, layer).input[1])
    values, scale, zero, bits = (constant(profile, name) for name in quant.input)
    assert zero.shape == bits.shape == () and zero == 0
    return values / scale, int(bits), attributes(quant)


def finish(net, value):
    """Pooling, a quantizer, the head."""
    pooled = net.quant(net.pool(value), 0.02, 8)
    return net.model(net.linear(pooled, "head", 1, net.channels[value]))


def test_zero_points_of_weights_become_one_more_bit(network, profiled):
    net = network()
    value = net.quant("image", 0.02)
    scale = np.full([4, 1, 1, 1], 0.1, np.float32)
    codes = net.draw.integers(0, 8, [4, 3, 3, 3]).astype(np.float32)
    zero = np.array([0, 2, 5, 7], np.float32).reshape(4, 1, 1, 1)
    weights = net.quant(net.constant((codes - zero) * scale), scale, 3, zero=zero, signed=False)
    profile = profiled(finish(net, net.quant(net.conv(value, "layer", 4, weights=weights), 0.05)))
    integers, bits, given = weights_of(profile, "layer")
    np.testing.assert_allclose(integers, codes - zero, atol=1e-4)
    assert bits == 4 and given["signed"] == 1


def test_symmetric_weights_stay_as_they_are(network, profiled):
    net = network()
    value = net.conv(net.quant("image", 0.02), "layer", 4, bits=3)
    integers, bits, given = weights_of(profiled(finish(net, net.quant(value, 0.05))), "layer")
    assert bits == 3 and given["narrow"] == 1 and np.abs(integers).max() <= 3.001


def test_the_zero_point_of_an_activation_is_the_offset_of_its_thresholds(network, profiled):
    net = network()
    value = net.conv(net.quant("image", 0.02), "one", 4)
    value = net.conv(net.quant(value, 0.03, 8, zero=37, signed=False, name="middle"), "two", 4)
    profile = profiled(finish(net, net.quant(value, 0.05)))
    given = attributes(named(profile, "middle.thresholds"))
    assert given["out_bias"] == -37 and given["out_dtype"] == b"INT9" and given["data_layout"] == b"NCHW"
    assert constant(profile, named(profile, "middle.thresholds").input[1]).shape == (1, 255)


def test_padding_stays_exact_behind_a_zero_point(network, profiled, executed):
    """The border of a convolution is code z, value 0: behind a large zero point a wrong border shows."""
    net = network()
    value = net.quant("image", 0.02, 8, zero=250, signed=False)
    profiled(finish(net, net.quant(net.conv(value, "layer", 4, 5), 0.05)))


@pytest.mark.parametrize("signed, bits, kept", [(False, 8, (8, 0)), (True, 8, (7, 0)), (True, 3, (2, 0))])
def test_relu_goes_into_its_quantizer(network, profiled, signed, bits, kept):
    net = network()
    value = net.node("Relu", [net.conv(net.quant("image", 0.02), "layer", 4)])
    profile = profiled(finish(net, net.quant(value, 4 / 2**bits, bits, signed=signed, name="act")))
    assert "Relu" not in kinds(profile)
    quant = named(profile, "act")
    assert (int(constant(profile, quant.input[3])), attributes(quant)["signed"]) == kept


def test_relu_before_two_bits_with_sign_has_one_threshold(network, profiled):
    net = network()
    value = net.node("Relu", [net.conv(net.quant("image", 0.02), "layer", 4)])
    profile = profiled(finish(net, net.quant(value, 0.4, 2, signed=True, name="act")))
    assert constant(profile, named(profile, "act.thresholds").input[1]).shape == (1, 1)


def test_a_function_with_two_quantizers_goes_into_both(network, profiled):
    net = network()
    value = net.node("Relu", [net.conv(net.quant("image", 0.02), "layer", 4)])
    left = net.conv(net.quant(value, 0.02, signed=False), "left", 4)
    right = net.conv(net.quant(value, 0.05, 4, signed=False), "right", 4)
    total = net.node("Add", [net.quant(left, 0.04), net.quant(right, 0.04)])
    assert "Relu" not in kinds(profiled(finish(net, net.quant(total, 0.06))))


def test_pooling_and_joining_run_on_integers(network, profiled):
    net = network()
    source = net.quant("image", 0.02)
    parts = [net.node("Relu", [net.conv(source, name, 4)]) for name in ("left", "right")]
    joined = net.node("Concat", parts, axis=1)
    net.channels[joined] = 8
    pooled = net.node("MaxPool", [joined], kernel_shape=[2, 2], strides=[2, 2])
    profile = profiled(
        finish(net, net.quant(net.conv(net.quant(pooled, 0.03, 6, signed=False), "top", 4), 0.05))
    )
    order = kinds(profile)
    assert order.index("MultiThreshold" if "MultiThreshold" in order else "Quant") < order.index("MaxPool")
    producers = {name: node for node in profile.model.graph.node for name in node.output}
    concat = next(node for node in profile.model.graph.node if node.op_type == "Concat")
    assert {producers[name].op_type for name in concat.input} <= {"Quant", "Mul", "MultiThreshold"}


def test_zeros_before_a_convolution_become_its_own(network, profiled):
    net = network()
    pads = net.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1]))
    padded = net.node("Pad", ["image", pads, net.constant(np.float32(0))])
    value = net.conv(net.quant(padded, 0.02, 8, zero=100, signed=False), "layer", 4, 3, stride=2, pad=[0] * 4)
    profile = profiled(finish(net, net.quant(value, 0.05)))
    assert "Pad" not in kinds(profile)
    assert attributes(named(profile, "layer"))["pads"] == [1, 2, 0, 1]


def test_groups_become_zeros_in_a_dense_convolution(network, profiled):
    net = network()
    value = net.quant(net.conv(net.quant("image", 0.02), "one", 6), 0.04)
    profile = profiled(finish(net, net.quant(net.conv(value, "two", 6, groups=3), 0.05)))
    integers, _, _ = weights_of(profile, "two")
    assert integers.shape == (6, 6, 3, 3) and not integers[0:2, 2:].any() and not integers[4:, :4].any()
    assert attributes(named(profile, "two"))["group"] == 1


def test_an_average_is_a_convolution_with_ones(network, profiled):
    net = network()
    value = net.quant(net.conv(net.quant("image", 0.02), "one", 4), 0.04)
    pooled = net.node("AveragePool", [value], name="mean", kernel_shape=[2, 2], strides=[2, 2])
    profile = profiled(finish(net, net.quant(pooled, 0.03)))
    integers, bits, _ = weights_of(profile, "mean")
    assert (integers == 1).all() and bits == 2 and attributes(named(profile, "mean"))["group"] == 4


def two_widths(net, shape, axis, wide=12):
    """Weights of which every third channel has ``wide`` bits, the others 3: restored channels."""
    outputs = shape[axis]
    count = outputs // 3
    sizes = [
        [size if place != axis else part for place, size in enumerate(shape)]
        for part in (outputs - count, count)
    ]
    parts = [net.weights(size, bits, axis=axis) for size, bits in zip(sizes, (3, wide), strict=True)]
    order = net.constant(np.argsort(np.argsort(np.arange(outputs) % 3 == 2, kind="stable"), kind="stable"))
    return net.node("Gather", [net.node("Concat", parts, axis=axis), order], axis=axis)


def test_channels_of_two_widths_become_two_layers(network, profiled):
    net = network()
    value = net.conv(net.quant("image", 0.02), "layer", 6, weights=two_widths(net, [6, 3, 3, 3], 0))
    value = net.conv(net.quant(net.node("Relu", [value]), 0.03, signed=False), "dw", 6, groups=0)
    value = net.conv(net.quant(value, 0.03, zero=100, signed=False), "next", 4)
    profile = profiled(finish(net, net.quant(value, 0.05)))
    assert profile.unsplit == []
    narrow, wide = weights_of(profile, "layer.narrow"), weights_of(profile, "layer.wide")
    assert (narrow[0].shape[0], narrow[1]) == (4, 3) and wide[0].shape[0] == 2 and 9 < wide[1] <= 12
    assert "Gather" not in kinds(profile)


def test_linear_layers_split_too(network, profiled):
    net = network()
    pooled = net.quant(net.pool(net.quant("image", 0.02)), 0.01)
    hidden = net.node("Relu", [net.linear(pooled, "fc1", 9, 3, weights=two_widths(net, [3, 9], 1))])
    profile = profiled(net.model(net.linear(net.quant(hidden, 0.02, signed=False), "fc2", 1, 9)))
    assert profile.unsplit == [] and weights_of(profile, "fc1.narrow")[0].shape == (3, 6)


def test_a_sum_keeps_a_layer_whole_at_the_wide_width(network, profiled):
    from brevitas_defakeq.export.finn.check_finn import check_graph

    net = network()
    value = net.quant(net.conv(net.quant("image", 0.02), "one", 6), 0.04)
    branch = net.conv(value, "layer", 6, weights=two_widths(net, [6, 6, 3, 3], 0))
    total = net.node("Add", [net.quant(branch, 0.04), value])
    model = finish(net, net.quant(total, 0.05))
    profile = profiled(model)
    assert profile.unsplit == ["layer"] and weights_of(profile, "layer")[1] == 12
    assert [(f.layer, f.kind) for f in check_graph(model) if "two widths" in f.problem] == [
        ("layer", "costs")
    ]


def test_sums_add_integers(network, profiled):
    net = network()
    first = net.quant(net.conv(net.quant("image", 0.02), "one", 4), 0.04, name="left")
    total = net.node("Add", [first, net.quant(net.conv(first, "two", 4), 0.04, name="right")], name="sum")
    profile = profiled(finish(net, net.quant(total, 0.05)))
    producers = {name: node.op_type for node in profile.model.graph.node for name in node.output}
    assert [producers[name] for name in named(profile, "sum").input] == ["MultiThreshold"] * 2


def test_weights_that_two_layers_read_are_theirs_alone(network, profiled):
    net = network()
    value = net.quant("image", 0.02)
    shared = net.weights([3, 3, 3, 3], 4, axis=0)
    value = net.quant(net.conv(value, "one", 3, weights=shared), 0.04)
    profile = profiled(finish(net, net.quant(net.conv(value, "two", 3, weights=shared), 0.05)))
    assert named(profile, "one").input[1] != named(profile, "two").input[1]


def test_the_ends_are_annotated_and_whole(network, profiled):
    from qonnx.core.modelwrapper import ModelWrapper

    net = network()
    value = net.conv(net.quant("image", 0.02, 8, zero=102, signed=False), "layer", 4)
    profile = profiled(finish(net, net.quant(value, 0.05)))
    model = ModelWrapper(profile.model)
    assert model.get_tensor_datatype(model.graph.input[0].name) == "INT9"
    assert model.get_tensor_datatype(model.graph.output[0].name) == "INT32"
    assert profile.input.to_dict() == {
        "scale": float(np.float32(0.02)), "zero_point": 102, "bits": 8, "signed": False, "low": 0,
        "high": 255,
    }  # fmt: skip
    assert model.get_opset_imports()[""] == 20


def test_two_classes_become_one_logit_of_the_host(network, profiled):
    net = network()
    pooled = net.quant(net.pool(net.quant(net.conv(net.quant("image", 0.02), "layer", 4), 0.05)), 0.02)
    scores = net.linear(pooled, "head", 2, 4)
    fake, real = (net.node("Gather", [scores, net.constant(np.array(place))], axis=1) for place in (1, 0))
    profile = profiled(net.model(net.node("Sub", [fake, real])))
    assert len(profile.output.scale) == 2 and profile.output.scale[0] < 0 < profile.output.scale[1]


def test_a_head_that_is_a_convolution(network, profiled):
    net = network()
    value = net.quant(net.conv(net.quant("image", 0.02), "layer", 4), 0.05)
    pooled = net.quant(net.node("GlobalAveragePool", [value]), 0.02)
    last = net.conv(pooled, "head", 1, 1)
    assert kinds(profiled(net.model(net.node("Flatten", [last]))))[-1] == "Conv"


def test_a_wrong_profile_is_refused_with_the_node_that_differs(network, profiled):
    from dataclasses import replace

    from brevitas_defakeq.export.finn.profile_agreement import verify_profile
    from brevitas_defakeq.utils.errors import UserError

    net = network()
    value = net.conv(net.quant("image", 0.02), "one", 4)
    value = net.conv(net.quant(value, 0.03, 8, zero=37, signed=False, name="middle"), "two", 4)
    model = finish(net, net.quant(value, 0.05))
    profile = profiled(model)
    images = np.random.default_rng(0).normal(0, 0.7, (3, 3, 8, 8)).astype(np.float32)
    assert verify_profile(model, profile, images).ties == 0
    with pytest.raises(UserError, match=r"the first node that differs is .*\(the output\)"):
        verify_profile(
            model, replace(profile, output=replace(profile.output, bias=profile.output.bias + 0.01)), images
        )
    named(profile, "middle.thresholds").attribute[1].f += 1  # out_bias
    with pytest.raises(UserError, match=r"off by .* the first node that differs is middle.scaled \(Mul\)"):
        verify_profile(model, profile, images)
