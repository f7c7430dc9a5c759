"""The index of a weights file, which it holds for other tools, and a reader by name.

A weights file holds one tensor a kind (``codes``, ``half``, ...): on small networks a header for each of some
hundred tensors would outweigh their data. The tensors are deflated (``storage.deflated_tensors``), and so is
the index, the JSON in the tensor ``index``. It names what the other tensors hold, in order:

``layers``       [name, bits, shape] of each quantized weight
``activations``  [name, count] of each activation quantizer's range: width, then lower end where it is free
                 (s, d and q of a logarithmic one: ``quant.logarithmic``); a number instead of the name is
                 the place in ``layers`` of the layer whose input it quantizes
``others``       [name, kind, shape] of all else: "half", "embedding", "grid", "full" or "integers"
``symmetric``    whether codes have no zero points
``mixed``        bits of the restored channels (8, 16 or 32); null in M_q's file

Codes are in one tensor a width, ``codes.3``, whole ones in every byte and less their zero points
(``storage.packing``). In files of format 1 they are one bit stream of all widths, ``codes``, and the index is
in the metadata. ``read_by_name`` follows it with numpy alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, stored_range
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.widths import width_of
from brevitas_defakeq.storage.deflated_tensors import read_tensors, tensors_file
from brevitas_defakeq.storage.packing import layout_bits, off_centre, packed_size, unpack
from brevitas_defakeq.storage.weights_transfer import kind_of, tensors_outside_layers
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import understanding

#: The tensor that holds the index; in files of format 1, its key in the metadata.
INDEX = "index"


def weights_file(
    model: nn.Module, tensors: Mapping[str, Tensor], plan: Plan, bits: Mapping[str, float],
    mixed_bits: int | None = None,
) -> bytes:  # fmt: skip
    """The bytes of a weights file: what a ``WeightsWriter`` collected of ``model``, and its index."""
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    written = weights_index(model, plan, bits, mixed_bits).encode()
    return tensors_file({INDEX: np.frombuffer(written, np.uint8), **arrays})


def read_weights(path: Path) -> tuple[str | None, dict[str, np.ndarray]]:
    """The index of a weights file, None where it has none, and its other tensors.

    Raises:
        UserError: the file is damaged.
    """
    tensors, metadata = read_tensors(path)
    index = tensors.pop(INDEX, None)
    return metadata.get(INDEX) if index is None else index.tobytes().decode(errors="replace"), tensors


def weights_index(model: nn.Module, plan: Plan, bits: Mapping[str, float], mixed_bits: int | None) -> str:
    """The index, as JSON, of a weights file of M_q, or of M_q^v (``mixed_bits`` given)."""
    inputs = {f"{layer.name}.input_quant": place for place, layer in enumerate(plan.layers)}
    index = {
        "layers": [[layer.name, bits[layer.name], list(layer.weight_shape)] for layer in plan.layers],
        "activations": [
            [inputs.get(name, name), len(stored_range(proxy))]
            for name, proxy in activation_proxies(model).items()
        ],
        "others": [
            [name, kind, list(tensor.shape)] for kind, name, tensor in tensors_outside_layers(model, plan)
        ],
        "symmetric": weight_quantizer(model.get_submodule(plan.layers[0].name)).symmetric,
        "mixed": mixed_bits,
    }
    return json.dumps(index, separators=(",", ":"))


def read_by_name(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a weights file under the names of the model, by numpy alone.

    Returns:
        of each quantized layer ``NAME.weight`` [C_out, ...], de-quantized, and what it comes from:
        ``NAME.codes`` [kept, C_in] uint8, ``NAME.scale`` and ``NAME.zero_point`` [kept, 1], ``NAME.bias``
        [C_out]; in M_q^v's file ``NAME.float_mask`` bool [C_out], whose channels are not among the kept ones.
        Of each activation quantizer ``NAME.range``. Every other tensor under its own name: float32, or the
        integers that a file holds instead ("integers", and the codes of "grid").

    Raises:
        UserError: the file is missing, damaged, no weights file, or of a version that wrote no index.
    """
    index, stream = _open(Path(path))
    with understanding(Path(path)):
        found = _read_all(index, stream)
    if not stream.finished():
        raise UserError(f"{path} is damaged (its index does not cover its tensors); quantize again")
    return found


def _open(path: Path) -> tuple[dict[str, Any], "_Stream"]:
    """The index of a weights file, and its tensors."""
    if not path.is_file():
        raise UserError(f"{path} is no file; give a weights file, such as run/weights.safetensors")
    written, tensors = read_weights(path)
    if written is None:
        raise UserError(
            f"{path} has no index: it is of an earlier version or no weights file; "
            "load the run folder and save it again, which writes one"
        )
    with understanding(path):
        return json.loads(written), _Stream(tensors)


def _read_all(index: Mapping[str, Any], stream: "_Stream") -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, bits, shape in index["layers"]:
        own = _read_layer(stream, bits, shape, index["symmetric"], index["mixed"])
        found |= {f"{name}.{key}": value for key, value in own.items()}
    for at, count in index["activations"]:
        name = f"{index['layers'][at][0]}.input_quant" if isinstance(at, int) else at
        found[f"{name}.range"] = stream.take("activations", count)
    for name, kind, shape in index["others"]:
        found[name] = _read_other(stream, kind, shape)
    return found


class _Stream:
    """The tensors of a file, each read from front to end."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors, self._position = tensors, dict.fromkeys(tensors, 0)

    def take(self, kind: str, count: int) -> np.ndarray:
        if not count:
            return np.zeros(0, np.float32)
        start = self._position[kind]
        self._position[kind] = start + count
        return self._tensors[kind][start : start + count]

    def finished(self) -> bool:
        """Whether every tensor was read to its end, and not past it."""
        return all(self._position[kind] == len(tensor) for kind, tensor in self._tensors.items())

    def half(self, count: int) -> np.ndarray:
        """float32 [count], kept as half precision times a power of two."""
        values = self.take("half", count).astype(np.float32)
        return values * np.float32(2.0) ** -self.take("exponents", 1).astype(np.float32)

    def codes(self, kind: str, count: int, bits: float) -> np.ndarray:
        """uint8 [count]"""
        if kind in self._tensors:  # of format 1
            return unpack(self.take(kind, packed_size(count, bits)).astype(np.uint8), count, bits)
        width = layout_bits(bits)
        data = self.take(kind_of(kind, bits), packed_size(count, width))
        return unpack(data.astype(np.uint8), count, width)

    @property
    def is_centred(self) -> bool:
        """Whether weights' codes are kept less their zero points."""
        return "codes" not in self._tensors


def _read_layer(
    stream: _Stream, bits: float, shape: Sequence[int], symmetric: bool, mixed: int | None
) -> dict[str, np.ndarray]:
    channels, inputs = shape[0], math.prod(shape[1:])
    weight = np.zeros((channels, inputs), np.float32)
    mask = np.zeros(channels, bool)
    if mixed is not None:
        mask = stream.codes("float_mask", channels, 1).astype(bool)
        weight[mask] = _read_restored(stream, int(mask.sum()), inputs, mixed)
    kept = int((~mask).sum())
    if symmetric:
        zero_point = np.full((kept, 1), max(width_of(bits).levels // 2 - 1, 1), np.uint8)
    else:
        zero_point = stream.codes("zero_points", kept, bits)[:, None]
    codes = stream.codes("codes", kept * inputs, bits).reshape(kept, inputs)
    if stream.is_centred:
        codes = off_centre(codes, zero_point, bits)
    scale = stream.half(kept)[:, None]
    weight[~mask] = (codes.astype(np.float32) - zero_point) * scale
    found = {
        "weight": weight.reshape(shape), "codes": codes, "scale": scale, "zero_point": zero_point,
        "bias": stream.half(channels),
    }  # fmt: skip
    return found if mixed is None else {**found, "float_mask": mask}


def _read_restored(stream: _Stream, channels: int, inputs: int, bits: int) -> np.ndarray:
    """Weights [channels, inputs] of restored channels."""
    if bits == 32:
        return stream.take("full", channels * inputs).reshape(channels, inputs)
    if bits == 16:
        scale = stream.half(channels)[:, None]
        return stream.take("restored_codes_16", channels * inputs).reshape(channels, inputs) * scale
    codes = stream.codes("restored_codes", channels * inputs, 8).reshape(channels, inputs)
    scale, zero_point = stream.half(channels)[:, None], stream.codes("zero_points", channels, 8)[:, None]
    return (codes.astype(np.float32) - zero_point) * scale


def _read_other(stream: _Stream, kind: str, shape: Sequence[int]) -> np.ndarray:
    """A tensor outside the layers; "grid" are the codes of an activation quantizer."""
    count = math.prod(shape)
    if kind == "half":
        values = stream.half(count)
    elif kind == "embedding":
        scale = np.broadcast_to(stream.half(shape[-1]), shape).ravel()
        values = stream.take("embeddings", count) * scale
    else:
        values = stream.take("embeddings" if kind == "grid" else kind, count)
    return values.reshape(shape)
