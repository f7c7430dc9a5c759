"""The file of a compressed detector: what every method is counted by.

Like our own weights files it holds one tensor a kind, since a header for each of some hundred tensors would
outweigh the data of a small network: ``half`` (float16, a power of two of each tensor in ``exponents``),
``bits`` (signs, eight a byte), ``terms`` (bytes) and integer buffers under their names. The metadata name
the parts in order.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from benchmarks.compression.sign_layer import SignLayer
from brevitas_defakeq.storage.precision import from_half, to_half


@dataclass(frozen=True)
class _Part:
    """A tensor of the model that the file holds as ``kind``; ``write_`` puts a read one back."""

    name: str
    kind: str
    tensor: Tensor
    write_: Callable[[Tensor], object]


def file_of(model: nn.Module) -> bytes:
    """The whole file of a float-computing model."""
    halves: list[Tensor] = [torch.empty(0, dtype=torch.float16)]
    exponents: list[int] = []
    bits: list[Tensor] = [torch.empty(0, dtype=torch.bool)]
    terms: list[Tensor] = [torch.empty(0, dtype=torch.uint8)]
    tensors: dict[str, Tensor] = {}
    index = []
    for part in _parts(model):
        index.append([part.name, part.kind, list(part.tensor.shape)])
        flat = part.tensor.detach().reshape(-1)
        if part.kind == "half":
            half, exponent = to_half(flat)
            halves.append(half)
            exponents.append(exponent)
        elif part.kind == "bits":
            bits.append(flat)
        elif part.kind == "terms":
            terms.append(flat)
        else:
            tensors[part.name] = part.tensor.contiguous()
    tensors["half"] = torch.cat(halves)
    tensors["exponents"] = torch.tensor(exponents, dtype=torch.int8)
    tensors["bits"] = torch.from_numpy(np.packbits(torch.cat(bits).numpy()))
    tensors["terms"] = torch.cat(terms)
    return save(tensors, metadata={"index": json.dumps(index, separators=(",", ":"))})


def file_bytes(model: nn.Module) -> int:
    """Length of the model's file."""
    return len(file_of(model))


@torch.no_grad()
def read_file_(model: nn.Module, content: bytes) -> None:
    """Put a file's values into a model of the structure that it was made of."""
    tensors = load(content)
    exponents = iter(tensors["exponents"].tolist())
    streams = {
        "half": tensors["half"],
        "terms": tensors["terms"],
        "bits": torch.from_numpy(np.unpackbits(tensors["bits"].numpy())).bool(),
    }
    for part in _parts(model):
        if part.kind not in streams:
            part.write_(tensors[part.name])
            continue
        count = part.tensor.numel()
        taken, streams[part.kind] = streams[part.kind][:count], streams[part.kind][count:]
        values = from_half(taken, next(exponents)) if part.kind == "half" else taken
        part.write_(values.view(part.tensor.shape))


def _parts(model: nn.Module) -> Iterator[_Part]:
    """Parameters and persistent buffers, each once, in the order of the modules."""
    found: set[int] = set()
    for prefix, module in model.named_modules():
        if isinstance(module, SignLayer):
            yield _Part(f"{prefix}.terms", "terms", module.terms, module.terms.copy_)
            yield _Part(f"{prefix}.signs", "bits", module.signs(), module.set_signs_)
            yield _Part(f"{prefix}.rows", "half", module.used_rows(), module.set_used_rows_)
            yield _Part(f"{prefix}.columns", "half", module.columns, module.columns.copy_)
            if module.bias is not None:
                yield _Part(f"{prefix}.bias", "half", module.bias, module.bias.copy_)
            continue
        own = dict(module._parameters)
        own |= {k: v for k, v in module._buffers.items() if k not in module._non_persistent_buffers_set}
        for name, tensor in own.items():
            if tensor is not None and id(tensor) not in found:
                found.add(id(tensor))
                kind = "half" if tensor.is_floating_point() else "integers"
                yield _Part(f"{prefix}.{name}".removeprefix("."), kind, tensor, partial(_copy_, tensor))


def _copy_(tensor: Tensor, values: Tensor) -> None:
    tensor.copy_(values)
