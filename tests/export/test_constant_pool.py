"""Pooled constants, as ONNX Runtime unpacks them, against numpy."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from brevitas_defakeq.export.constant_pool import Constants
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.runtime.onnx_file import open_session

RNG = np.random.default_rng(0)


def coded(bits, shape=(24, 13), axis=1, restored=0, symmetric=False) -> IntegerWeight:
    levels = 3 if bits == 1.6 else 2 ** int(bits)
    channels = shape[axis]
    zero = np.full(channels, levels // 2) if symmetric else RNG.integers(0, levels, channels)
    extra = [restored if place == axis else side for place, side in enumerate(shape)]
    return IntegerWeight(
        codes=RNG.integers(0, levels, shape).astype(np.uint8), zero_point=zero.astype(np.int32),
        scale=np.float16(RNG.uniform(0.01, 0.1, channels)).astype(np.float32), axis=axis, bits=bits,
        restored=RNG.integers(-127, 128, extra).astype(np.int8),
        restored_scale=np.float16(RNG.uniform(0.01, 0.1, restored)).astype(np.float32),
        order=RNG.permutation(channels + restored) if restored else np.arange(channels),
        integer_bias=len(shape) > 2,
    )  # fmt: skip


def value(weight: IntegerWeight) -> np.ndarray:
    """codes - zero point in the layer's order, by numpy."""
    shape = [-1 if axis == weight.axis else 1 for axis in range(weight.codes.ndim)]
    centred = weight.codes.astype(int) - weight.zero_point.reshape(shape)
    return np.take(
        np.concatenate([centred, weight.restored], axis=weight.axis), weight.order, axis=weight.axis
    )


def run(constants: Constants, names: list[str], kind: int, *, optimize: bool) -> list[np.ndarray]:
    """The constants' values as a graph that only hands them out computes them."""
    outputs = [helper.make_tensor_value_info(f"out{i}", kind, None) for i in range(len(names))]
    nodes = [helper.make_node("Identity", [name], [f"out{i}"]) for i, name in enumerate(names)]
    graph = helper.make_graph(nodes, "test", [], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    constants.write_(model)
    return open_session(model.SerializeToString(), optimize=optimize).run(None, {})


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("dtype", "kind", "middle"),
    [(np.int8, TensorProto.INT8, 0), (np.float32, TensorProto.FLOAT, 0), (np.uint8, TensorProto.UINT8, 128)],
)
def test_weights_of_every_width_come_back(optimize, packed, dtype, kind, middle):
    constants = Constants()
    weights = [coded(bits, restored=restored) for bits in (1.6, 2, 3, 4, 5, 6, 7) for restored in (0, 3)]
    weights += [coded(3, (8, 1, 3, 3), 0), coded(3, (8, 4, 3, 3), 0, symmetric=True), coded(4, (8, 0), 1, 5)]
    weights += [coded(8, symmetric=True)]
    names = [constants.weight(weight, dtype, packed=packed, middle=middle) for weight in weights]
    found = run(constants, names, kind, optimize=optimize)
    for weight, array in zip(weights, found, strict=True):
        assert np.array_equal(array, middle + value(weight)), weight.bits


def test_a_gain_multiplies_the_codes_and_the_restored_channels():
    constants, weight = Constants(), coded(3, restored=2)
    weight.restored[...] = weight.restored.clip(-16, 15)
    name = constants.weight(weight, np.int8, packed=True, gain=8)
    assert np.array_equal(run(constants, [name], TensorProto.INT8, optimize=True)[0], 8 * value(weight))


def test_float_channels_are_not_rounded():
    constants, weight = Constants(), coded(3, restored=2)
    weight = replace(weight, restored=RNG.normal(size=weight.restored.shape).astype(np.float32))
    assert not weight.is_integer
    name = constants.weight(weight, np.float32, packed=True)
    found = run(constants, [name], TensorProto.FLOAT, optimize=True)[0]
    assert np.array_equal(found, value(weight).astype(np.float32))


def test_packed_weights_take_their_own_width():
    constants = Constants()
    for _ in range(4):
        constants.weight(coded(3, (64, 100), symmetric=True), np.int8, packed=True)
    model = helper.make_model(helper.make_graph([], "test", [], []))
    constants.write_(model)
    stored = sum(len(tensor.raw_data) for tensor in constants.stored if tensor.data_type == TensorProto.UINT8)
    tables = 256 * 4 + 256 * 8
    assert stored == 4 * 64 * 100 * 3 // 8 + tables


@pytest.mark.parametrize("symmetric", [True, False])
def test_little_is_stored_beside_the_codes(symmetric):
    """A byte a channel for zero points that differ, and next to nothing for those that do not."""
    constants = Constants()
    for _ in range(4):
        constants.weight(coded(3, (400, 16, 3, 3), 0, symmetric=symmetric), np.int8, packed=True, gain=8)
    constants.write_(helper.make_model(helper.make_graph([], "test", [], [])))
    stored = sum(len(tensor.raw_data) for tensor in constants.stored)
    codes, tables = 4 * 400 * 16 * 9 * 3 // 8, 256 * 4 + 256 * 8
    assert stored - codes - tables < 300 + (not symmetric) * 4 * 400


@pytest.mark.parametrize("optimize", [True, False])
def test_large_tables_take_a_byte_a_number_and_masks_less(optimize):
    codes = RNG.integers(-127, 128, (4, 49, 6))
    codes[0, 0] = 127
    scale = np.float16(RNG.uniform(0.5, 1, 6)).astype(np.float32) / 4096
    table = (codes * scale).astype(np.float32)
    mask = np.where(RNG.uniform(size=(4, 49, 49)) < 0.3, np.float32(-100), np.float32(0))
    constants = Constants()
    names = [constants.numbers(array) for array in (table, table.transpose(2, 0, 1), mask, mask)]
    found = run(constants, names, TensorProto.FLOAT, optimize=optimize)
    for array, back in zip((table, table.transpose(2, 0, 1), mask, mask), found, strict=True):
        assert np.array_equal(array, back)
    assert sum(len(tensor.raw_data) for tensor in constants.stored) < 2 * table.size + mask.size / 4 + 2000


@pytest.mark.parametrize("optimize", [True, False])
def test_numbers_are_exact(optimize):
    arrays = [
        np.float16(RNG.normal(size=50)).astype(np.float32),
        np.ldexp(np.float16(RNG.normal(size=(5, 2))).astype(np.float32), -12),
        RNG.normal(size=30).astype(np.float32),
        np.array([1.0, 1e-30, 1e30, 0.0, -0.5, 7.0], dtype=np.float32),
        np.float32(3.5),
    ]
    constants = Constants()
    names = [constants.numbers(array) for array in arrays]
    found = run(constants, names, TensorProto.FLOAT, optimize=optimize)
    for array, back in zip(arrays, found, strict=True):
        assert np.array_equal(array, back) and array.shape == back.shape
