"""The integer grid of a QONNX ``Quant`` node, and new ``Quant`` nodes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, make_node


@dataclass(frozen=True)
class QuantGrid:
    """``x ~ scale (code - zero_point)`` with codes from ``min_code`` to ``max_code``.

    Attributes:
        scale, zero_point, bits: float32, one value or one per channel; they broadcast over x.
        signed, narrow: the code range, as in QONNX.
        rounding: QONNX's rounding mode, upper case.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    bits: np.ndarray
    signed: bool
    narrow: bool
    rounding: str

    @classmethod
    def from_node(cls, graph: GraphEditor, quant: NodeProto) -> "QuantGrid":
        """Read a ``Quant`` node whose scale, zero point and bits are constants."""
        scale, zero_point, bits = (graph.constants[name].astype(np.float32) for name in quant.input[1:4])
        return cls(
            scale, zero_point, bits, signed=bool(get_attribute(quant, "signed", 1)),
            narrow=bool(get_attribute(quant, "narrow", 1)),
            rounding=get_attribute(quant, "rounding_mode", "ROUND").upper(),
        )  # fmt: skip

    @property
    def is_per_tensor(self) -> bool:
        return self.scale.size == self.zero_point.size == self.bits.size == 1

    @property
    def min_code(self) -> np.ndarray:
        """The smallest code."""
        if not self.signed:
            return np.zeros_like(self.bits)
        return -(2 ** (self.bits - 1)) + self.narrow

    @property
    def max_code(self) -> np.ndarray:
        """The largest code."""
        if self.signed:
            return 2 ** (self.bits - 1) - 1
        return 2**self.bits - 1 - self.narrow

    @property
    def min_integer(self) -> int:
        """The smallest value of ``code - zero_point``."""
        return int((self.min_code - self.zero_point).min())

    @property
    def max_integer(self) -> int:
        """The largest value of ``code - zero_point``."""
        return int((self.max_code - self.zero_point).max())

    @property
    def has_integer_zero_point(self) -> bool:
        return bool((self.zero_point == np.round(self.zero_point)).all())

    def integers(self, values: np.ndarray) -> np.ndarray:
        """``code - zero_point`` of float32 values, by the same operations in the same order as qonnx."""
        codes = values.astype(np.float32) / self.scale + self.zero_point
        codes = np.where(codes > self.max_code, self.max_code.astype(np.float32), codes)
        codes = np.where(codes < self.min_code, self.min_code.astype(np.float32), codes)
        return np.round(codes) - self.zero_point

    def equals(self, other: "QuantGrid") -> bool:
        """Whether both give the same integers and values."""
        pairs = ((self.scale, other.scale), (self.zero_point, other.zero_point), (self.bits, other.bits))
        alike = all(a.size == b.size == 1 and a.item() == b.item() for a, b in pairs)
        return alike and (self.signed, self.narrow, self.rounding) == (
            other.signed, other.narrow, other.rounding,
        )  # fmt: skip


def is_activation(graph: GraphEditor, quant: NodeProto) -> bool:
    """Whether a node quantizes an activation, a value that depends on the image."""
    return quant.op_type == "Quant" and not graph.is_constant(quant.input[0])


def quant_node(
    graph: GraphEditor, source: str, output: str, name: str, *, scale: ArrayLike, bits: int, signed: bool,
    narrow: bool = False,
) -> NodeProto:  # fmt: skip
    """A ``Quant`` node with zero point 0; parameters of one value are scalars, as FINN expects."""
    scale = np.asarray(scale, np.float32)
    scale = scale.reshape(()) if scale.size == 1 else scale
    inputs = [
        source, graph.add_constant(scale, f"{name}.scale"), graph.add_constant(np.float32(0), f"{name}.zero"),
        graph.add_constant(np.float32(bits), f"{name}.bits"),
    ]  # fmt: skip
    return make_node(
        "Quant", inputs, output, name, signed=int(signed), narrow=int(narrow), rounding_mode="ROUND"
    )


def smallest_type(min_integer: int, max_integer: int) -> tuple[int, bool]:
    """Bits and signedness of the smallest type, two bits or more, that holds both integers.

    >>> smallest_type(-37, 218), smallest_type(0, 255), smallest_type(-128, 127)
    ((9, True), (8, False), (8, True))
    """
    if min_integer >= 0:
        return max(2, int(max_integer).bit_length()), False
    return max(2, max(int(-min_integer - 1).bit_length(), int(max_integer).bit_length()) + 1), True


def type_name(min_integer: int, max_integer: int) -> str:
    """qonnx's name of that type, such as "INT9"."""
    bits, signed = smallest_type(min_integer, max_integer)
    return f"{'' if signed else 'U'}INT{bits}"
