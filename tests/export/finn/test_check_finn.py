"""What the check says of graphs made by hand, one reason at a time; and that it names the layers."""

import numpy as np
import pytest

pytestmark = pytest.mark.fpga


@pytest.fixture
def checked():
    """``checked(model, target)``: its findings."""
    from brevitas_defakeq.export.finn.check_finn import check_graph

    return lambda model, target="any": check_graph(model, target)


def start(net, **options):
    """A quantized image behind one convolution, quantized again."""
    value = net.conv(net.quant("image", 0.02, name="first"), "stem", 4)
    return net.quant(value, 0.05, **options)


def finish(net, value, bits=8):
    pooled = net.quant(net.pool(value), 0.02, bits)
    return net.model(net.linear(pooled, "head", 1, net.channels[value] or 4))


def refused(findings) -> list:
    return [finding for finding in findings if finding.kind == "cannot"]


def only(findings, kind="cannot"):
    (finding,) = [finding for finding in findings if finding.kind == kind]
    return finding


def test_a_network_of_integers_has_nothing_to_say(network, checked):
    net = network()
    assert checked(finish(net, start(net))) == []


def test_zero_points_are_counted_in_bits(network, checked):
    net = network()
    codes = np.tile(np.arange(8, dtype=np.float32), 14)[: 4 * 27].reshape(4, 3, 3, 3)
    weights = net.quant(net.constant((codes - 2) * np.float32(0.5)), 0.5, 3, zero=2, signed=False)
    source = net.quant("image", 0.02, zero=37, signed=False)
    value = net.conv(source, "stem", 4, weights=weights)
    findings = checked(finish(net, net.quant(value, 0.05, 8, zero=128, signed=False)))
    assert [(f.layer, f.kind, f.problem, f.extra_bits) for f in findings[:2]] == [
        ("stem, input", "costs", "activation zero point 37: 9 bits instead of 8", 1),
        ("stem", "costs", "weight zero points: 4 bits instead of 3", 1),
    ]
    assert len(findings) == 2  # 0..255 around 128 is -128..127: eight bits
    assert findings[0].change == "quantize with --target fpga"


def test_two_scales_in_a_sum(network, checked):
    net = network()
    first = start(net)
    other = net.quant(net.conv(first, "body", 4), 0.06)
    found = only(checked(finish(net, net.quant(net.node("Add", [first, other]), 0.05))))
    assert found.problem == "a sum whose operands have two scales, 0.05 and 0.06"
    assert found.layer == "after body and stem"


def test_what_helps_a_run_for_fpga_is_another(network, checked):
    net = network()
    first = start(net)
    total = net.node("Add", [first, net.conv(first, "body", 4)])
    model = finish(net, net.quant(total, 0.05))
    assert "--target fpga" in only(checked(model)).change
    assert "without alpha=" in only(checked(model, "fpga")).change


@pytest.mark.parametrize("build, operator, problem, change", [
    (lambda net, x: net.node("Mul", [x, net.node("Sigmoid", [x])]), "Mul", "SiLU", "network with ReLU"),
    (lambda net, x: net.node("HardSwish", [x]), "HardSwish", "no operator for HardSwish", "MobileNetV2"),
    (lambda net, x: net.node("Mul", [x, net.node("Sigmoid", [net.node("GlobalAveragePool", [x])])]), "Mul",
     "sigmoid gate", "without such gates"),
    (lambda net, x: net.node("Resize", [x, "", net.constant(np.float32([1, 1, 2, 2]))], mode="nearest"),
     "Resize", "no operator for Resize", "before the detector"),
    (lambda net, x: net.node("Erf", [x]), "Erf", "no operator for Erf", "GELU as one node"),
    (lambda net, x: net.node("MaxPool", [x], kernel_shape=[1, 1], strides=[2, 2]), "MaxPool", "with strides",
     "no smaller than the stride"),
    (lambda net, x: net.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), "MaxPool",
     "rounds its output size up", "ceil_mode=False"),
    (lambda net, x: net.node("AveragePool", [x], kernel_shape=[3, 3], pads=[1] * 4), "AveragePool",
     "same number of values", "count_include_pad"),
    (lambda net, x: net.node("Pad", [x, net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))], mode="reflect"),
     "Pad", "something other than zeros", "pad with zeros"),
    (lambda net, x: net.node("InstanceNormalization", [x, *(net.constant(np.ones(4, np.float32)),) * 2]),
     "InstanceNormalization", "no operator", "BatchNorm"),
])  # fmt: skip
def test_operators_that_do_not_map(network, checked, build, operator, problem, change):
    net = network()
    found = refused(checked(finish(net, net.conv(net.quant(build(net, start(net)), 0.05), "next", 4))))
    named = [finding for finding in found if finding.operator == operator]
    assert named and problem in named[0].problem and change in named[0].change
    assert named[0].layer == "after stem"


@pytest.mark.parametrize("function, signed, maps", [
    ("Relu", True, True), ("Relu", False, True), ("none", False, True), ("none", True, False),
    ("LeakyRelu", True, False),
])  # fmt: skip
def test_a_padded_maximum_wants_no_negative_integers(network, checked, function, signed, maps):
    net = network()
    value = net.conv(net.quant("image", 0.02), "stem", 4)
    value = value if function == "none" else net.node(function, [value])
    pooled = net.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    findings = checked(finish(net, net.quant(pooled, 0.05, signed=signed)))
    assert findings == [] if maps else "may be negative" in only(findings).problem


def test_activations_that_are_too_wide(network, checked):
    net = network()
    assert only(checked(finish(net, start(net, bits=12)))).problem.startswith("activations of 12 bits")


def test_a_scale_for_each_channel_of_an_activation(network, checked):
    net = network()
    value = net.conv(net.quant("image", 0.02), "stem", 4)
    scales = np.array([0.1, 0.2, 0.1, 0.3], np.float32).reshape(1, 4, 1, 1)
    found = only(checked(finish(net, net.quant(net.conv(net.quant(value, scales), "next", 4), 0.05))))
    assert found.layer == "next, input" and "4 scales, one per channel" in found.problem


def test_a_layer_that_reads_joined_values_of_two_scales(network, checked):
    net = network()
    joined = net.node("Concat", [start(net), net.quant(start_again(net), 0.3, 4)], axis=1)
    net.channels[joined] = 8
    found = only(checked(finish(net, net.quant(net.conv(joined, "next", 4), 0.05))))
    assert found.layer == "after other and stem" and "do not have one scale" in found.problem


def start_again(net):
    """Another convolution of the quantized image."""
    return net.conv("first.out0", "other", 4)


def test_rounding_and_fractions(network, checked):
    net = network()
    assert "rounds by FLOOR" in only(checked(finish(net, start(net, rounding="FLOOR")))).problem
    net = network()
    assert "not an integer" in only(checked(finish(net, start(net, zero=1.5, signed=False)))).problem


def test_float_weights_and_inputs(network, checked):
    net = network()
    weights = net.constant(net.draw.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32))
    value = net.conv(net.quant("image", 0.02), "stem", 4, weights=weights)
    found = refused(checked(finish(net, net.conv(value, "next", 4))))
    assert [(f.layer, f.problem.split(":")[0]) for f in found] == [
        ("stem", "weights, or restored channels, are float"), ("next", "its input is not quantized"),
        ("after next", "it pools values that are not quantized"),
    ]  # fmt: skip


def test_a_pooling_without_a_quantizer_behind(network, checked):
    net = network()
    pooled = net.pool(start(net))
    found = only(checked(net.model(net.linear(pooled, "head", 1, 4))))
    assert found.layer == "head" and found.problem == "it reads a pooling without a quantizer after it"


def test_a_mean_over_tokens(network, checked):
    net = network()
    value = start(net)
    shape = net.constant(np.array([1, 4, 64]))
    tokens = net.node("Transpose", [net.node("Reshape", [value, shape])], perm=[0, 2, 1])
    mean = net.node("ReduceMean", [tokens, net.constant(np.array([1]))], keepdims=0)
    found = only(checked(net.model(net.linear(net.quant(mean, 0.02), "head", 1, 4))))
    assert "mean over tokens" in found.problem and "global_pool=token" in found.change


def test_the_image_read_as_it_is(network, checked):
    net = network()
    value = net.conv("image", "stem", 4)
    found = refused(checked(finish(net, net.quant(value, 0.05))))
    assert found[0].layer == "the image" and "read by Conv" in found[0].problem
    net = network()
    parts = [net.quant(net.conv(net.quant("image", scale), f"{scale}", 4), 0.05) for scale in (0.02, 0.03)]
    found = only(checked(finish(net, net.quant(net.node("Add", parts), 0.05))))
    assert "several quantizers" in found.problem


def test_a_logit_that_is_no_linear_function(network, checked):
    net = network()
    scores = net.linear(net.quant(net.pool(start(net)), 0.02), "head", 3, 4)
    found = only(checked(net.model(net.node("Softmax", [scores], axis=-1))))
    assert found.layer == "after head" and "not a linear function" in found.problem


def test_floating_point_layers_need_a_device(network, checked):
    net = network()
    value = net.node("Gelu", [net.conv(net.quant("image", 0.02), "stem", 4)])
    found = only(checked(finish(net, net.quant(value, 0.05))), "needs")
    assert (found.layer, found.operator) == ("after stem", "Gelu") and "Versal devices only" in found.problem
    net = network()
    value = net.node("Softmax", [start(net)], axis=1)
    assert only(checked(finish(net, net.quant(value, 0.05)))).problem == "it works along axis 1"


def test_groups_and_shared_weights_cost(network, checked):
    net = network()
    shared = net.weights([4, 4, 1, 1], 4, axis=0)
    value = net.quant(net.conv(start(net), "one", 4, 1, weights=shared, pad=[0] * 4), 0.04)
    value = net.quant(net.conv(value, "two", 4, 1, weights=shared, pad=[0] * 4), 0.04)
    findings = checked(finish(net, net.quant(net.conv(value, "three", 4, groups=2), 0.05)))
    assert [(f.layer, f.kind) for f in findings] == [("one", "costs"), ("three", "costs")]
    assert "used 2 times" in findings[0].problem and "2 groups" in findings[1].problem


def test_one_dimensional_convolutions(network, checked):
    net = network()
    rows = net.node("Reshape", [start(net), net.constant(np.array([1, 4, 64]))])
    weights = net.weights([4, 4, 3], 4, axis=0)
    value = net.node("Conv", [rows, weights], "line", pads=[1, 1])
    value = net.node("Reshape", [net.quant(value, 0.05), net.constant(np.array([1, 4, 8, 8]))])
    net.channels[value] = 4
    found = only(checked(finish(net, value)))
    assert found.layer == "line" and "1 dimension" in found.problem
