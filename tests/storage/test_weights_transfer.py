"""What a writer stores, a reader gives back to a fresh model; as many bytes as the bit map says."""

import copy

import pytest
import torch
from nominal_width import nominal_bits
from torch import nn

from brevitas_defakeq.nn.module_tree import modules_by_name, snapshot
from brevitas_defakeq.prepare.calibrate import calibrate_
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.quant.activation_quantizer import activation_grid, activation_proxies
from brevitas_defakeq.quant.bias import product_gain
from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.storage.packing import pack
from brevitas_defakeq.storage.weights_transfer import WeightsReader, WeightsWriter, transfer
from brevitas_defakeq.utils.errors import UserError

CANDIDATES = (1.6, 2, 3, 4, 6, 8)
IMAGES = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, positions, a norm whose name ends in ``_quant``, a float layer, buffers."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.position = nn.Parameter(torch.randn(1, 36, 5))
        self.pre_quant = nn.LayerNorm(5)
        self.up = nn.ConvTranspose1d(5, 6, 1)
        self.head = nn.Linear(6, 3, bias=False)
        self.register_buffer("steps", torch.tensor([seed + 3]))
        self.register_buffer("offset", torch.randn(1))
        with torch.no_grad():
            self.pre_quant.weight.uniform_(0.5, 1.5)
            self.pre_quant.bias.normal_()

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2) + self.position
        x = self.up(self.pre_quant(x).relu().transpose(1, 2)) + self.offset * self.steps
        return self.head(x.mean(2))


def prepared(seed=0, symmetric=False, activation_bits=8):
    """A quantized network, not calibrated."""
    model = Net(seed).eval()
    plan = make_plan(model, IMAGES)
    insert_quantizers_(model, plan, QuantScheme(CANDIDATES, activation_bits, symmetric))
    return model.eval(), plan


def quantized(bits, **options):
    model, plan = prepared(**options)
    calibrate_(model, activation_proxies(model), [IMAGES], count=1)
    for name, width in bits.items():
        layer = modules_by_name(model)[name]
        set_bits_(weight_quantizer(layer), width)
        weight_quantizer(layer).search_range_(layer.weight)
    return model, plan


def restore_channels(model, channels):
    """Mark channels as VEFT does, with rows that no 2-bit grid holds."""
    for name, channel in channels:
        layer = modules_by_name(model)[name]
        with torch.no_grad():
            layer.weight[channel] = torch.randn(layer.weight[channel].shape)
        weight_quantizer(layer).float_mask.view(-1)[channel] = True


def write(model, plan, bits, mixed_bits=None):
    writer = WeightsWriter()
    transfer(model, plan, bits, writer, mixed_bits=mixed_bits)
    return writer.tensors()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("width", CANDIDATES)
def test_writer_to_reader(width, symmetric):
    bits = {"stem": width, "head": 4 if width != 4 else 2}
    model, plan = quantized(bits, symmetric=symmetric)
    before = model(IMAGES)
    codes = {name: read_codes(modules_by_name(model)[name])[0] for name in bits}
    stored = write(model, plan, bits)
    expected = model(IMAGES)
    change = (expected - before).norm() / before.norm()
    assert change < 0.05, "rounding scales, biases and tables to their stored precision is a small change"

    fresh, _ = prepared(seed=1, symmetric=symmetric)
    transfer(fresh, plan, bits, WeightsReader(stored))
    assert torch.equal(fresh(IMAGES), expected)
    theirs, ours = snapshot(model), snapshot(fresh)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    for name in bits:
        layer = modules_by_name(fresh)[name]
        assert nominal_bits(weight_quantizer(layer)) == bits[name]
        assert torch.equal(read_codes(layer)[0], codes[name])


class WriterOfFormatOne(WeightsWriter):
    """One bit stream for the codes of all widths, zero points and all."""

    def codes(self, values, bits, kind):
        flat = values.detach().reshape(-1).to(torch.uint8).numpy()
        self._append(kind, torch.from_numpy(pack(flat, bits)))
        return values

    def weight_codes(self, codes, zero_point, bits):
        return self.codes(codes, bits, "codes")


@pytest.mark.parametrize("mixed_bits", [None, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_files_of_format_one(symmetric, mixed_bits):
    bits = {"stem": 3, "head": 1.6}
    model, plan = quantized(bits, symmetric=symmetric)
    if mixed_bits:
        restore_channels(model, [("stem", 1), ("head", 0)])
    writer = WriterOfFormatOne()
    transfer(model, plan, bits, writer, mixed_bits=mixed_bits)
    assert "codes" in writer.tensors()
    fresh, _ = prepared(seed=1, symmetric=symmetric)
    transfer(fresh, plan, bits, WeightsReader(writer.tensors()), mixed_bits=mixed_bits)
    assert torch.equal(fresh(IMAGES), model(IMAGES))
    kept = ~weight_quantizer(model.stem).float_mask.flatten()
    assert torch.equal(read_codes(fresh.stem)[0][kept], read_codes(model.stem)[0][kept])


def test_writing_twice_changes_nothing():
    bits = {"stem": 3, "head": 1.6}
    model, plan = quantized(bits)
    first = write(model, plan, bits)
    outputs = model(IMAGES)
    second = write(model, plan, bits)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[kind], second[kind]) for kind in first)
    assert torch.equal(model(IMAGES), outputs)


@pytest.mark.parametrize("mixed_bits", [8, 32])
@pytest.mark.parametrize("symmetric", [False, True])
def test_restored_channels(symmetric, mixed_bits):
    bits = {"stem": 2, "head": 3}
    model, plan = quantized(bits, symmetric=symmetric)
    restore_channels(model, [("stem", 1), ("stem", 4), ("head", 0)])
    rows = modules_by_name(model)["stem"].weight[[1, 4]].detach().clone()
    stored = write(model, plan, bits, mixed_bits)
    expected = model(IMAGES)
    fresh, _ = prepared(seed=1, symmetric=symmetric)
    transfer(fresh, plan, bits, WeightsReader(stored), mixed_bits=mixed_bits)
    assert torch.equal(fresh(IMAGES), expected)
    mask = weight_quantizer(modules_by_name(fresh)["stem"]).float_mask
    assert mask.flatten().tolist() == [False, True, False, False, True]
    kept = modules_by_name(fresh)["stem"].weight[[1, 4]]
    if mixed_bits == 32:
        assert torch.equal(kept, rows)
    else:
        span = rows.flatten(1).amax(1) - rows.flatten(1).amin(1)
        assert ((kept - rows).flatten(1).abs().amax(1) <= span / 255).all()
        assert all(len(row.unique()) <= 256 for row in kept)


def sizes(stored):
    return {kind: tensor.numel() * tensor.element_size() for kind, tensor in stored.items()}


def test_bytes_worked_out_by_hand():
    bits = {"stem": 3, "head": 1.6}
    model, plan = quantized(bits)
    assert sizes(write(model, plan, bits)) == {
        "codes.3": 68,  # 5 * 27, two to a byte
        "codes.1.6": 4,  # 18, five to a byte
        "zero_points.3": 3,  # 5, two to a byte
        "zero_points.1.6": 1,
        # scales 5 + 3, biases 5 + 3 (the head's is new), norm 5 + 5, 5 columns, the float layer's bias 6
        "half": 2 * (5 + 3 + 5 + 3 + 5 + 5 + 5 + 6),
        "exponents": 8,
        "embeddings": 36 * 5,
        "activations": 4 * 4,  # lower end and width of two inputs
        "full": 4 * (5 * 6 + 1),  # the float layer, the buffer
        "integers": 8,
    }


def test_bytes_of_a_symmetric_and_a_mixed_form():
    bits = {"stem": 4, "head": 8}
    model, plan = quantized(bits, symmetric=True)
    found = sizes(write(model, plan, bits))
    assert not [kind for kind in found if kind.startswith("zero_points")]
    assert found["codes.4"] == 68 and found["codes.8"] == 18  # 135 codes, two to a byte; 18
    assert found["activations"] == 5 * 4, "both inputs, the stem and the positions added to it, the mean"
    assert found["embeddings"] == 36 * 5
    model, plan = quantized(bits)
    restore_channels(model, [("stem", 2), ("head", 1)])
    found = sizes(write(model, plan, bits, 8))
    assert found["codes.4"] == 54 and found["codes.8"] == 12  # one channel of 27 and one of 6 fewer
    assert found["restored_codes.8"] == 27 + 6
    assert found["float_mask.1"] == 1 + 1
    assert found["zero_points.4"] == 2  # 4
    assert found["zero_points.8"] == 1 + 2 + 1  # a restored one, 2, another restored one


def test_weights_only_and_zero_channels():
    """A dead channel beside a large one: its scale must not vanish and turn it into NaN."""
    bits = {"stem": 4, "head": 4}
    model, plan = prepared(activation_bits=None)
    layer = modules_by_name(model)["stem"]
    with torch.no_grad():
        layer.weight[0] = 0.0
        layer.weight[1] *= 1e6
    for name, width in bits.items():
        quantizer = weight_quantizer(modules_by_name(model)[name])
        set_bits_(quantizer, width)
        quantizer.search_range_(modules_by_name(model)[name].weight)
    stored = write(model, plan, bits)
    assert "activations" not in stored
    assert torch.isfinite(model(IMAGES)).all()
    assert not layer.quant_weight().value[0].any()
    fresh, _ = prepared(seed=1, activation_bits=None)
    transfer(fresh, plan, bits, WeightsReader(stored))
    assert torch.equal(fresh(IMAGES), model(IMAGES))


@pytest.mark.parametrize(
    "kind",
    [
        "codes.3", "codes.2", "zero_points.3", "half", "exponents", "embeddings", "activations", "full",
        "integers",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["shortened", "missing"])
def test_damaged_tensors(kind, damage):
    bits = {"stem": 3, "head": 2}
    model, plan = quantized(bits)
    stored = write(model, plan, bits)
    if damage == "missing":
        del stored[kind]
    else:
        stored[kind] = stored[kind][:-1]
    fresh, _ = prepared(seed=1)
    with pytest.raises(UserError, match="damaged"):
        transfer(fresh, plan, bits, WeightsReader(stored))


def test_calibrated_ranges_hold_in_training_mode():
    bits = {"stem": 3, "head": 2}
    model, plan = quantized(bits)
    stored = write(model, plan, bits)
    fresh, _ = prepared(seed=1)
    transfer(fresh, plan, bits, WeightsReader(stored))
    expected = fresh(IMAGES)
    trained = copy.deepcopy(fresh).train()
    assert torch.equal(trained(IMAGES), expected), "the statistics phase is over"


@pytest.mark.parametrize("mixed_bits", [None, 8])
def test_biases_of_convolutions_lie_on_their_integer_grid(mixed_bits):
    bits = {"stem": 2, "head": 3}
    model, plan = quantized(bits)
    restored = [("stem", 1), ("stem", 4)] if mixed_bits else []
    restore_channels(model, restored)
    writer = WeightsWriter()
    transfer(model, plan, bits, writer, mixed_bits=mixed_bits, integer_biases=True)
    stem = modules_by_name(model)["stem"]
    scale = read_codes(stem)[1].flatten()
    if restored:
        scale[[1, 4]] = weight_quantizer(stem).restored_grid[1].flatten()
    steps = stem.bias / (activation_grid(stem.input_quant)[0] * scale)
    codes, _, zero_point = read_codes(stem)
    gain = 1 if restored else product_gain(float((codes - zero_point).abs().max()))  # restored: up to 127
    assert torch.allclose(gain * steps, (gain * steps).round(), atol=1e-3)

    fresh, _ = prepared(seed=1)
    transfer(fresh, plan, bits, WeightsReader(writer.tensors()), mixed_bits=mixed_bits, integer_biases=True)
    assert torch.equal(modules_by_name(fresh)["stem"].bias, stem.bias)
    assert torch.equal(fresh(IMAGES), model(IMAGES))
