"""Constants that share initializers: on small networks names and headers would outweigh the data."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from brevitas_defakeq.export.bit_planes import plane_bytes, plane_table
from brevitas_defakeq.export.graph_writer import drop_unread_
from brevitas_defakeq.export.integer_weights import IntegerWeight
from brevitas_defakeq.quant.widths import width_of
from brevitas_defakeq.storage.packing import centred, layout_bits
from brevitas_defakeq.storage.precision import column_codes, column_scale, from_half, to_half

#: Codes from which on a weight is unpacked by nodes of its own, which saves the runtime two copies of it.
_ALONE = 100_000
#: From this many numbers on it pays to search for an encoding of a byte or less.
_LARGE = 1024
#: Powers of two that a pool of half-precision numbers is lifted by: small scales keep all their bits.
_LIFTS = (0, 8, 16, 24)


class Constants:
    """Names constants as they are requested; writes them, pooled, at the front of the graph.

    Args:
        compressible: lay codes out for an entropy coder (``storage.packing.layout_bits``, ``centred``), equal
            kinds side by side, instead of at their own width.
    """

    def __init__(self, *, compressible: bool = False) -> None:
        self.compressible = compressible
        self.nodes: list[NodeProto] = []
        self.stored: list[TensorProto] = []
        self._kinds: dict[str, str] = {}
        self._widths: dict[str, float] = {}
        self.groups: list[tuple[str, float]] = []
        self._codes: dict[tuple[str, float], list[tuple[str, np.ndarray]]] = {}
        self._halves: dict[int, list[tuple[str, np.ndarray]]] = {}
        self._integers: dict[str, list[tuple[str, np.ndarray]]] = {}
        self._known: dict[tuple, str] = {}
        self._count = 0

    # Constants of a graph -----------------------------------------------------------------------------

    def array(self, values: np.ndarray | np.float32, kind: str = "other values") -> str:
        """Any values, as they are; equal ones once. ``kind``: their name on the card."""
        key = (str(values.dtype), values.shape, values.tobytes())
        if key not in self._known:
            self._known[key] = self._store(values, kind)
        return self._known[key]

    def numbers(self, values: np.ndarray) -> str:
        """float32 values: a byte or less each where a large array allows it, half precision where exact."""
        flat = values.astype(np.float32)
        if flat.size >= _LARGE:
            small = self._few_values(flat) or self._grid(flat)
            if small:
                return small
        for lift in _LIFTS:
            with np.errstate(over="ignore"):
                half = np.ldexp(flat, lift).astype(np.float16)
            if values.size > 4 and np.array_equal(np.ldexp(half.astype(np.float32), -lift), flat):
                return self._once(("half", lift), self._halves.setdefault(lift, []), half)
        return self.array(flat)

    def _few_values(self, values: np.ndarray) -> str | None:
        """An array of at most 16 different values, an attention mask's, as codes of 2 or 4 bits."""
        levels, indices = np.unique(values, return_inverse=True)
        if len(levels) > 16:
            return None
        bits = 2 if len(levels) <= 4 else 4
        pool = self._codes.setdefault(("masks", bits), [])
        codes = self._once(("mask", bits), pool, indices.reshape(values.shape).astype(np.uint8))
        return self._add("Gather", self.array(levels), self._cast(codes, TensorProto.INT32))

    def _grid(self, values: np.ndarray) -> str | None:
        """A table that the run keeps as int8 codes in units of one scale along an axis, a position's."""
        for axis in range(values.ndim):
            if values.shape[axis] == values.size:  # one value a column: its scale would be all there is
                continue
            columns = torch.from_numpy(np.moveaxis(values, axis, -1))
            scale = from_half(*to_half(column_scale(columns)))
            codes = column_codes(columns, scale)
            if torch.equal(codes.float() * scale, columns):
                stored = self.array(np.moveaxis(codes.numpy(), -1, axis).copy(), "position tables")
                shape = [-1 if place == axis else 1 for place in range(values.ndim)]
                scales = self.reshaped(self.numbers(scale.numpy()), shape)
                return self.product(self._cast(stored, TensorProto.FLOAT), scales)
        return None

    def integers(self, values: np.ndarray) -> str:
        """int32 values, stored in the smallest type that holds them."""
        kinds = ("uint8", "int8", "int16", "int32")
        kind = next(kind for kind in kinds if np.array_equal(values.astype(kind), values))
        return self._once(("integer", kind), self._integers.setdefault(kind, []), values.astype(kind))

    def weight(
        self, weight: IntegerWeight, dtype: type, *, packed: bool, gain: int = 1, middle: int = 0
    ) -> str:
        """``middle + gain (codes - zero_point)`` in the layer's order.

        Packed codes are unpacked by the runtime as it loads the file. Restored channels are not packed.

        Args:
            dtype: numpy's int8, uint8 or float32.
        """
        unpacked = not packed or not width_of(weight.bits).planes
        restored = middle + gain * weight.restored.astype(np.float32)
        if not weight.codes.size or (unpacked and dtype != np.float32):
            return self.array(weight.joined(middle + gain * weight.centred, restored).astype(dtype), "codes")
        if unpacked:
            codes = self.array(weight.codes, "codes")
        else:
            codes = self._packed(weight)
        values = self._moved(codes, weight, np.dtype(dtype), gain, middle)
        if not restored.size:
            return values
        values = self._add("Concat", values, self._restored(restored, weight, dtype), axis=weight.axis)
        return self._add("Gather", values, self.integers(weight.order), axis=weight.axis)

    def _packed(self, weight: IntegerWeight) -> str:
        """Codes in the pool of their width."""
        pool = self._codes.setdefault(("codes", weight.bits), [])
        if not self.compressible or len(np.unique(weight.zero_point)) == 1:
            return self._pooled(pool, weight.codes)
        zero_points = weight.zero_point.reshape(weight.along_channels)
        stored = self._pooled(pool, centred(weight.codes, zero_points, weight.bits))
        wide = self._add("Add", self._cast(stored, TensorProto.INT32), self._zero(weight))
        return self._add("Mod", wide, self.array(np.array(width_of(weight.bits).levels, np.int32)))

    def _moved(self, codes: str, weight: IntegerWeight, dtype: np.dtype, gain: int, middle: int) -> str:
        """``middle + gain (codes - zero_point)`` in few and narrow steps.

        A runtime holds the values of every step until it has loaded the whole file.
        """
        if dtype == np.float32:
            centred = self.difference(self._cast(codes, TensorProto.INT32), self._zero(weight))
            return self._cast(centred, TensorProto.FLOAT)
        zero = middle - gain * weight.zero_point  # within dtype, as ``integer_weight`` ensures
        if len(np.unique(zero)) == 1:
            zero_points, steps = self.array(zero[0].astype(dtype)), self.array(np.float32(1 / gain))
        else:
            zero_points = self._cast(self.integers(zero), helper.np_dtype_to_tensor_dtype(dtype))
            steps = self._repeated(1 / gain, len(zero))
        return self._add(
            "QuantizeLinear", self._cast(codes, TensorProto.FLOAT), steps, zero_points, axis=weight.axis
        )

    def _repeated(self, value: float, count: int) -> str:
        """float32 [count] of one value, which is stored once."""
        key = ("repeated", value, count)
        if key not in self._known:
            shape = self.array(np.array([count]))
            self._known[key] = self._add("Expand", self.array(np.float32(value)), shape)
        return self._known[key]

    def _restored(self, values: np.ndarray, weight: IntegerWeight, dtype: type) -> str:
        """Restored channels as ``dtype``, a byte each where they are codes."""
        if weight.restored.dtype == np.int8 and dtype == np.float32:
            return self._cast(self.array(weight.restored, "restored channels"), TensorProto.FLOAT)
        return self.array(values.astype(dtype), "restored channels")

    def _zero(self, weight: IntegerWeight) -> str:
        """int32 zero points, one number where all channels have the same."""
        zero = weight.zero_point
        if len(np.unique(zero)) == 1:
            return self.array(zero[:1].astype(np.int32))
        return self.integers(zero.reshape(weight.along_channels))

    def product(self, first: str, second: str) -> str:
        """The product of two constants, worked out as the file is loaded."""
        return self._add("Mul", first, second)

    def difference(self, first: str, second: str) -> str:
        return self._add("Sub", first, second)

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        return self._add("Reshape", name, self.array(np.array(shape)))

    def exchanged(self, name: str, shape: Sequence[int], groups: int) -> str:
        """[C_out, C_in/groups, ...] -> [C_in, C_out/groups, ...]."""
        outputs, inputs, *kernel = shape
        grouped = self.reshaped(name, (groups, outputs // groups, inputs, *kernel))
        axes = [0, 2, 1, *range(3, 3 + len(kernel))]
        turned = self._add("Transpose", grouped, perm=axes)
        return self.reshaped(turned, (groups * inputs, outputs // groups, *kernel))

    def dequantized(self, codes: str, scale: str, axis: int, *zero_point: str) -> str:
        """scale x (codes - zero point) along an axis, as runtimes fuse it."""
        return self._add("DequantizeLinear", codes, scale, *zero_point, axis=axis)

    # Writing ------------------------------------------------------------------------------------------

    def write_(self, model: ModelProto) -> Counter:
        """Put everything at the front of the graph: the pools taken apart, then what reads their parts.

        Returns:
            bytes of the graph's initializers by kind.
        """
        asked, self.nodes = self.nodes, []
        for (kind, bits), parts in sorted(self._codes.items()):
            for chunk in _chunks(parts):
                self._write_codes(kind, bits, chunk)
        for lift, parts in sorted(self._halves.items()):
            halves = self._store(_joined(parts), "scales and other numbers")
            values = self._cast(halves, TensorProto.FLOAT)
            if lift:
                values = self._add("Mul", values, self.array(np.float32(2.0**-lift)))
            self._split(values, parts, 0)
        for _, parts in sorted(self._integers.items()):
            stored = self._store(_joined(parts), "zero points and biases")
            self._split(self._cast(stored, TensorProto.INT32), parts, 0)
        graph = model.graph
        body = list(graph.node)
        del graph.node[:]
        graph.node.extend([*self.nodes, *asked, *body])
        graph.initializer.extend(sorted(self.stored, key=self._group) if self.compressible else self.stored)
        drop_unread_(model)
        self.groups = [self._group(tensor) for tensor in graph.initializer]
        sizes: Counter = Counter()
        for tensor in graph.initializer:
            sizes[self._kinds.get(tensor.name, "other values")] += len(tensor.raw_data)
        return sizes

    def _group(self, tensor: TensorProto) -> tuple[str, float]:
        """What a stored tensor lies beside: those of the same kind and width."""
        return self._kinds.get(tensor.name, ""), self._widths.get(tensor.name, 0.0)

    def _write_codes(self, kind: str, bits: float, parts: Sequence[tuple[str, np.ndarray]]) -> None:
        codes, width = _joined(parts), width_of(bits)
        padding = -len(codes) % width.codes_per_group
        codes = np.pad(codes, (0, padding))
        alone = len(parts) == 1 and not padding
        shape = self.array(np.array(parts[0][1].shape if alone else [-1]))
        joined = ""
        for own, shift in ((layout_bits(bits), 0),) if self.compressible else width.planes:
            values = self._store(plane_bytes(codes, own, shift), kind)
            self._widths[values] = bits
            if own < 8:
                table = self.array(plane_table(own, shift), "tables")
                values = self._add("Gather", table, self._cast(values, TensorProto.INT32))
            values = self._add("Reshape", values, shape)
            joined = self._add("BitwiseOr", joined, values) if joined else values
        if alone:
            self.nodes[-1].output[0] = parts[0][0]
        else:
            self._split(joined, parts, padding)

    def _split(self, values: str, parts: Sequence[tuple[str, np.ndarray]], padding: int) -> None:
        """Give every part its own name and shape."""
        flat = [name if array.ndim == 1 else self._name() for name, array in parts]
        sizes = [array.size for _, array in parts]
        if padding:
            sizes.append(padding)
        names = flat + ([self._name()] if padding else [])
        lengths = self.array(np.array(sizes))
        self.nodes.append(helper.make_node("Split", [values, lengths], names, axis=0))
        for piece, (name, array) in zip(flat, parts, strict=True):
            if array.ndim != 1:
                shape = self.array(np.array(array.shape))
                self.nodes.append(helper.make_node("Reshape", [piece, shape], [name]))

    def _store(self, values: np.ndarray | np.float32, kind: str) -> str:
        name = self._name()
        self._kinds[name] = kind
        self.stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _once(self, kind: tuple, pool: list[tuple[str, np.ndarray]], values: np.ndarray) -> str:
        """A place in a pool; equal values share one."""
        key = (*kind, values.shape, values.tobytes())
        if key not in self._known:
            self._known[key] = self._pooled(pool, values)
        return self._known[key]

    def _pooled(self, pool: list[tuple[str, np.ndarray]], values: np.ndarray) -> str:
        name = self._name()
        pool.append((name, values))
        return name

    def _cast(self, name: str, kind: int) -> str:
        return self._add("Cast", name, to=kind)

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = self._name()
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _name(self) -> str:
        self._count += 1
        return f"constant.{self._count}"


def stretches(model: ModelProto, groups: Sequence[tuple[str, float]]) -> list[bytes]:
    """The serialized file in parts, cut where kind or width of the initializers changes.

    Args:
        groups: kind and width of each initializer, ``Constants.groups``.
    """
    file, end, cuts = model.SerializeToString(), 0, [0]
    for _, same in groupby(zip(model.graph.initializer, groups, strict=True), key=lambda pair: pair[1]):
        for tensor, _ in same:
            end = file.index(tensor.raw_data, end) + len(tensor.raw_data)
        cuts.append(end)
    return [file[start:stop] for start, stop in pairwise([*cuts, len(file)])]


def _joined(parts: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([array.ravel() for _, array in parts])


def _chunks(parts: list[tuple[str, np.ndarray]]) -> list[list[tuple[str, np.ndarray]]]:
    """Large parts alone, small ones together."""
    small = [part for part in parts if part[1].size < _ALONE]
    return [*([part] for part in parts if part[1].size >= _ALONE), *([small] if small else [])]
