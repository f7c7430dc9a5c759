"""Everything that is not a weight, rounded in M_q itself to what the file holds: nothing changes on saving.

Scales, biases, norms: half precision. Embeddings: 8 bits, one half scale per column. Weights of modules that
stayed float, and running statistics: float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.modules import modules_by_name
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.coded import read_codes, write_codes_


def half_exponent(values: Tensor) -> int:
    """Power of two that lifts the largest value to just below half precision's largest."""
    largest = float(values.detach().abs().max()) if values.numel() else 0.0
    return 0 if largest == 0.0 else 14 - int(torch.frexp(torch.tensor(largest))[1])


def to_half(values: Tensor) -> tuple[Tensor, int]:
    """float32 -> (float16 mantissas, exponent): ``values ~ half * 2^-exponent``, eleven bits for most."""
    exponent = half_exponent(values)
    return torch.ldexp(values.detach(), torch.tensor(exponent)).half(), exponent


def from_half(half: Tensor, exponent: int) -> Tensor:
    return torch.ldexp(half.float(), torch.tensor(-exponent))


def to_int8_columns(table: Tensor) -> tuple[Tensor, Tensor, int]:
    """[..., C] -> int8 codes, half scale mantissas [C] and their exponent; symmetric, one scale a column."""
    rows = table.detach().reshape(-1, table.shape[-1])
    half, exponent = to_half((rows.abs().amax(dim=0) / 127).clamp_min(1e-12))
    codes = (rows / from_half(half, exponent)).round().clamp(-127, 127).to(torch.int8)
    return codes.view(table.shape), half, exponent


def from_int8_columns(codes: Tensor, half: Tensor, exponent: int) -> Tensor:
    return codes.float() * from_half(half, exponent)


@dataclass(frozen=True)
class Rest:
    """Parameters outside the quantized layers' weights, by how they are stored."""

    half: tuple[str, ...]
    embeddings: tuple[str, ...]
    full: tuple[str, ...]


def rest_of(model: nn.Module, plan: Plan) -> Rest:
    """Which parameter and buffer of M_q is stored how. Quantizers' own parameters are left out."""
    weights = {f"{layer.name}.weight" for layer in plan.layers}
    half, full = [], []
    for name, parameter in model.named_parameters():
        if name in weights or name in plan.embeddings or _in_quantizer(name):
            continue
        vector = parameter.numel() == max([*parameter.shape, 1])
        (half if vector else full).append(name)
    full += [name for name, _ in persistent_buffers(model)]
    return Rest(tuple(half), tuple(plan.embeddings), tuple(full))


def persistent_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a checkpoint holds, outside quantizers."""
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            full_name = f"{prefix}.{name}" if prefix else name
            temporary = name in module._non_persistent_buffers_set
            if buffer is not None and not temporary and not _in_quantizer(full_name):
                yield full_name, buffer


def _in_quantizer(name: str) -> bool:
    return any(part.endswith("_quant") for part in name.split("."))


@torch.no_grad()
def round_rest_(model: nn.Module, plan: Plan) -> None:
    """Round scales, biases, norms and embeddings of M_q in place to their stored precision."""
    modules = modules_by_name(model)
    for layer in plan.layers:
        codes, scale, zero_point = read_codes(modules[layer.name])
        write_codes_(modules[layer.name], codes, from_half(*to_half(scale)), zero_point)
    parameters = dict(model.named_parameters())
    rest = rest_of(model, plan)
    for name in rest.half:
        parameters[name].copy_(from_half(*to_half(parameters[name])))
    for name in rest.embeddings:
        parameters[name].copy_(from_int8_columns(*to_int8_columns(parameters[name])))
