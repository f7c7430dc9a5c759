"""Random mixed-precision networks: the profile is exact, or the check names the reason; never in silence."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.fpga

WIDTHS = st.integers(2, 8)
#: What makes a network unmappable -> a word of the line that has to name it.
DEFECTS = {
    "plain_sum": "not all quantized", "two_scales": "two scales", "no_pool_quantizer": "pooling without",
    "float_pool": "pools values", "silu": "SiLU", "gate": "gate", "wide_activation": "12 bits",
    "channel_scales": "one per channel", "float_weights": "are float", "softmax_end": "linear function",
    "unquantized": "not quantized", "resize": "Resize",
}  # fmt: skip


@st.composite
def plans(draw):
    """What a network is made of."""
    layers = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "kernel": st.sampled_from([1, 3, 5]), "stride": st.sampled_from([1, 1, 2]),
                    "kind": st.sampled_from(["dense", "dense", "depthwise", "grouped"]),
                    "bits": WIDTHS, "activation_bits": WIDTHS, "zero": st.booleans(),
                    "activation_zero": st.booleans(), "residual": st.booleans(), "restored": st.booleans(),
                    "function": st.sampled_from(["Relu", "Relu", "Clip", "LeakyRelu", "Sigmoid", "none"]),
                    "between": st.sampled_from(["nothing", "nothing", "MaxPool", "AveragePool", "Pad"]),
                    "bias": st.booleans(),
                }
            ),
            min_size=1,
            max_size=4,
        )
    )  # fmt: skip
    return {
        "layers": layers, "seed": draw(st.integers(0, 2**16)), "classes": draw(st.sampled_from([1, 1, 2])),
        "pad_image": draw(st.booleans()), "input_zero": draw(st.booleans()),
        "defect": draw(st.sampled_from([None] * 24 + list(DEFECTS))),
    }  # fmt: skip


def grid(network, bits: int, zero: bool, *, signed: bool, reach: float = 3.0) -> dict:
    """A quantizer for values up to ``reach``: with a zero point, signed, or unsigned."""
    if zero:
        point = int(network.draw.integers(1, 2**bits - 1))
        return {"scale": reach / 2**bits, "bits": bits, "zero": point, "signed": False}
    step = reach / 2 ** (bits - 1) if signed else reach / 2**bits
    return {"scale": step, "bits": bits, "signed": signed}


def restored_weights(network, shape, bits, zero):
    """Weights of which some output channels have 8 bits (or 12), in any order."""
    wide = max(1, shape[0] // 3)
    low = network.weights([shape[0] - wide, *shape[1:]], bits, axis=0, zero=zero)
    high = network.weights([wide, *shape[1:]], 12 if bits > 6 else 8, axis=0)
    joined = network.node("Concat", [low, high], axis=0)
    return network.node("Gather", [joined, network.constant(network.draw.permutation(shape[0]))], axis=0)


def layer(network, value, plan, number, defect):
    """One layer, its function and what lies between it and the next quantizer; returns a plain value."""
    name = f"layers.{number}"
    inputs = network.channels[value]
    channels = inputs if plan["kind"] == "depthwise" else 6
    groups = {"dense": 1, "depthwise": 0, "grouped": 3 if inputs % 3 == 0 else 1}[plan["kind"]]
    weights = None
    if plan["restored"] and groups == 1:
        shape = [channels, inputs, plan["kernel"], plan["kernel"]]
        weights = restored_weights(network, shape, plan["bits"], plan["zero"])
    if defect == "float_weights" and number == 0:
        shape = [channels, inputs // (groups or inputs), plan["kernel"], plan["kernel"]]
        weights = network.constant(network.draw.normal(0, 0.3, shape).astype(np.float32))
    value = network.conv(
        value, name, channels, plan["kernel"], bits=plan["bits"], stride=plan["stride"], groups=groups,
        zero=plan["zero"], bias=plan["bias"], weights=weights,
    )  # fmt: skip
    return value


def activated(network, value, plan, defect):
    """The value through its activation function."""
    if defect in ("silu", "gate"):
        gate = network.node(
            "Sigmoid", [value if defect == "silu" else network.node("GlobalAveragePool", [value])]
        )
        return network.node("Mul", [value, gate])
    if plan["function"] == "none":
        return value
    if plan["function"] == "Clip":
        ends = [network.constant(np.float32(end)) for end in (0.0, 1.5)]
        return network.node("Clip", [value, *ends])
    return network.node(plan["function"], [value])


def between(network, value, plan):
    """A pooling or a padding before the next quantizer; the average wants its quantizer first."""
    if plan["between"] == "MaxPool":
        return network.node("MaxPool", [value], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    if plan["between"] == "Pad":
        pads = network.constant(np.array([0, 0, 0, 1, 0, 0, 1, 0]))
        return network.node("Pad", [value, pads, network.constant(np.float32(0))])
    if plan["between"] == "AveragePool":
        value = network.quant(value, **grid(network, 8, False, signed=True))
        return network.node(
            "AveragePool", [value], kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1
        )
    return value


def build(plan, network_type):
    """The network of a plan: QONNX as the export writes it."""
    network, defect = network_type(seed=plan["seed"]), plan["defect"]
    value = "image"
    if plan["pad_image"]:
        pads = network.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1]))
        value = network.node("Pad", [value, pads, network.constant(np.float32(0))])
    value = network.quant(value, **grid(network, 8, plan["input_zero"], signed=True, reach=2.0))
    for number, item in enumerate(plan["layers"]):
        first = defect if number == 0 else None
        before = value
        value = layer(network, before, item, number, defect)
        value = activated(network, value, item, first)
        residual = item["residual"] and first != "unquantized"  # whose sum would be quantized
        same = network.channels[value] == network.channels[before] and item["stride"] == 1
        if first in ("plain_sum", "two_scales") or (residual and same):
            value = summed(network, before, value, item, number, first)
        value = value if first == "unquantized" else between(network, value, item)
        if first == "resize":
            sizes = network.constant(np.array([1.0, 1.0, 2.0, 2.0], np.float32))
            value = network.node("Resize", [value, "", sizes], mode="nearest")
        if first != "unquantized":
            options = grid(
                network, item["activation_bits"], item["activation_zero"], signed=network.draw.random() < 0.7
            )
            if first == "wide_activation":
                options["bits"] = 12
            if first == "channel_scales":
                shape = [1, network.channels[value], 1, 1]
                options["scale"] = np.full(shape, 0.02) * network.draw.uniform(0.5, 1.5, shape)
            value = network.quant(value, **options)
    return network.model(head(network, value, plan))


def summed(network, before, value, plan, number, defect):
    """The layer's result and its input, each behind the quantizer that they share."""
    if defect == "plain_sum" or defect == "two_scales":  # whatever their shapes: through a layer of its own
        before = network.conv(
            before, f"layers.{number}.skip", network.channels[value], 1, stride=plan["stride"]
        )
    shared = grid(network, 8, plan["activation_zero"], signed=True)
    other = {**shared, "scale": shared["scale"] * 1.5} if defect == "two_scales" else shared
    left = before if defect == "plain_sum" else network.quant(before, **other)
    return network.node("Add", [network.quant(value, **shared), left])


def head(network, value, plan):
    """Pooling, the last layer, and how its scores become a logit."""
    defect = plan["defect"]
    if defect == "float_pool":
        value = network.node("Relu", [network.conv(value, "layers.last", 4, 1)])
    pooled = network.pool(value)
    if defect != "no_pool_quantizer":
        pooled = network.quant(pooled, **grid(network, 6, plan["input_zero"], signed=True, reach=1.0))
    scores = network.linear(
        pooled, "head", plan["classes"], network.channels[value], bits=5, zero=plan["input_zero"]
    )
    if defect == "softmax_end":
        return network.node("Softmax", [scores], axis=-1)
    if plan["classes"] == 1:
        return network.node("Flatten", [scores], axis=0)
    places = [network.constant(np.array(place)) for place in (1, 0)]
    fake, real = (network.node("Gather", [scores, place], axis=1) for place in places)
    axis = network.constant(np.array([1]))
    real = network.node("ReduceLogSumExp", [network.node("Unsqueeze", [real, axis]), axis], keepdims=0)
    return network.node("Sub", [fake, real])


def holds(plan, network, executed, hosted) -> None:
    """The property."""
    from brevitas_defakeq.export.finn.check_finn import check_graph
    from brevitas_defakeq.export.finn.findings import unmappable
    from brevitas_defakeq.export.finn.finn_profile import finn_profile
    from brevitas_defakeq.export.finn.profile_agreement import verify_profile

    model = build(plan, network)
    refused = unmappable(check_graph(model))
    defect = plan["defect"]
    if defect is not None:
        assert any(DEFECTS[defect] in finding.problem for finding in refused), (defect, refused)
        return
    if any(item["between"] == "MaxPool" for item in plan["layers"]):  # padded, behind any function or sum
        refused = [finding for finding in refused if "may be negative" not in finding.problem]
    assert not refused, refused
    profile = finn_profile(model)
    for node in profile.model.graph.node:
        if node.op_type == "Quant":
            zero = next(t for t in profile.model.graph.initializer if t.name == node.input[2])
            assert not np.frombuffer(zero.raw_data, np.float32).any() and not zero.dims
    images = np.random.default_rng(plan["seed"]).normal(0, 0.6, (4, 3, 8, 8)).astype(np.float32)
    wanted = np.array([executed(model, image[None]).item() for image in images])
    found = np.array([hosted(profile, image[None]) for image in images])
    off = np.abs(found - wanted) / max(np.ptp(wanted), np.abs(wanted).max(), 1e-12)
    assert (off <= 1e-5).all() or verify_profile(model, profile, images).ties == (off > 1e-5).sum(), off


#: Nothing is shrunk: a network is slow to run, and a plan tells what it is.
OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}


@settings(max_examples=25, derandomize=True, **OPTIONS)
@given(plan=plans())
def test_the_profile_is_exact_or_the_check_says_why(plan, network, executed, hosted):
    holds(plan, network, executed, hosted)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=300, **OPTIONS)
@given(plan=plans())
def test_the_profile_is_exact_or_the_check_says_why_at_length(plan, network, executed, hosted):
    holds(plan, network, executed, hosted)
