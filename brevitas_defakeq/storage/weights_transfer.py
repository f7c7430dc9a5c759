"""One pass over a quantized model that rounds, writes or reads all that a weights file holds.

``transfer(model, plan, bits, WeightsWriter())`` rounds M_q in place to its stored precision (scales, biases
and norms to half precision, embeddings to 8 bits) and collects the tensors; with a ``WeightsReader`` the same
pass fills a freshly built model. One pass, so the two cannot disagree.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.prepare.hardware_quantizers import plain_name, quantizer_at
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.activation_quantizer import (
    activation_grid,
    activation_proxies,
    code_range,
    mark_calibrated_,
    stored_range,
)
from brevitas_defakeq.quant.bias import round_bias_
from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.coded_weight import read_codes, write_codes_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.range_search import SMALLEST_SCALE, search_rows
from brevitas_defakeq.storage.packing import centred, layout_bits, off_centre, pack, packed_size, unpack
from brevitas_defakeq.storage.precision import column_codes, column_scale, from_half, to_half
from brevitas_defakeq.utils.errors import UserError


def kind_of(kind: str, bits: float) -> str:
    """The tensor that holds codes of one width: codes of one width lie together, as an entropy coder needs.

    >>> kind_of("codes", 3.0)
    'codes.3'
    """
    return f"{kind}.{bits:g}"


#: The largest of 16-bit codes around zero.
_LARGEST_16 = 2**15 - 1


def packed_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of a writer's tensors with every code at its own width, and nothing entropy-coded."""
    total = 0.0
    for kind, tensor in tensors.items():
        _, _, width = kind.partition(".")
        share = float(width) / layout_bits(float(width)) if width else 1.0
        total += tensor.numel() * tensor.element_size() * share
    return math.ceil(total)


class WeightsWriter:
    """Collects tensors by kind; every method returns what a ``WeightsReader`` will give back."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Tensor]] = {}

    def _append(self, kind: str, values: Tensor) -> None:
        self.parts.setdefault(kind, []).append(values.detach().reshape(-1).cpu())

    def half(self, values: Tensor) -> Tensor:
        half, exponent = to_half(values)
        self._append("half", half)
        self._append("exponents", torch.tensor([exponent], dtype=torch.int8))
        return from_half(half, exponent)

    def codes(self, values: Tensor, bits: float, kind: str) -> Tensor:
        flat = values.detach().reshape(-1).to(torch.uint8).numpy()
        self._append(kind_of(kind, bits), torch.from_numpy(pack(flat, layout_bits(bits))))
        return values

    def weight_codes(self, codes: Tensor, zero_point: Tensor, bits: float) -> Tensor:
        rows = codes.detach().flatten(1).to(torch.uint8).numpy()
        zeros = zero_point.detach().flatten(1).numpy()
        self.codes(torch.from_numpy(centred(rows, zeros, bits)), bits, "codes")
        return codes

    def signed(self, values: Tensor) -> Tensor:
        self._append("embeddings", values)
        return values

    def exact(self, values: Tensor, kind: str) -> Tensor:
        self._append(kind, values.detach().clone())
        return values

    def layer(self, layer: QuantLayer) -> tuple[Tensor, Tensor, Tensor]:
        return read_codes(layer)

    def tensors(self) -> dict[str, Tensor]:
        """One contiguous tensor a kind, for safetensors."""
        return {kind: torch.cat(parts) for kind, parts in self.parts.items() if parts}


class WeightsReader:
    """Gives back, in the same order, what a ``WeightsWriter`` collected."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.position = dict.fromkeys(tensors, 0)

    def _take(self, kind: str, count: int) -> Tensor:
        start = self.position.get(kind, 0)
        values = self.tensors.get(kind, torch.empty(0))[start : start + count]
        if len(values) < count:
            raise UserError("the weights file does not fit its config.json; the run folder is damaged")
        self.position[kind] = start + count
        return values

    def half(self, values: Tensor) -> Tensor:
        half = self._take("half", values.numel())
        return from_half(half, int(self._take("exponents", 1))).view(values.shape)

    def codes(self, values: Tensor, bits: float, kind: str) -> Tensor:
        if kind in self.tensors:  # of format 1: a bit stream, all widths in one
            data, width = self._take(kind, packed_size(values.numel(), bits)), bits
        else:
            width = layout_bits(bits)
            data = self._take(kind_of(kind, bits), packed_size(values.numel(), width))
        found = unpack(data.numpy(), values.numel(), width)
        return torch.from_numpy(found).to(values.dtype).view(values.shape)

    def weight_codes(self, codes: Tensor, zero_point: Tensor, bits: float) -> Tensor:
        found = self.codes(codes, bits, "codes")
        if "codes" in self.tensors or not found.numel():
            return found
        rows, zeros = found.flatten(1).numpy(), zero_point.flatten(1).numpy()
        return torch.from_numpy(off_centre(rows, zeros, bits)).to(codes.dtype).view(codes.shape)

    def signed(self, values: Tensor) -> Tensor:
        return self._take("embeddings", values.numel()).view(values.shape)

    def exact(self, values: Tensor, kind: str) -> Tensor:
        return self._take(kind, values.numel()).to(values.dtype).view(values.shape)

    def layer(self, layer: QuantLayer) -> tuple[Tensor, Tensor, Tensor]:
        rows = layer.weight.new_zeros(layer.weight.shape[0], *[1] * (layer.weight.dim() - 1))
        return torch.zeros_like(layer.weight), rows, rows.clone()


#: Where the tensors of a pass go to, or come from.
Stream = WeightsWriter | WeightsReader


@torch.no_grad()
def transfer(
    model: nn.Module,
    plan: Plan,
    bits: Mapping[str, float],
    stream: Stream,
    *,
    mixed_bits: int | None = None,
    integer_biases: bool = False,
) -> None:
    """Pass over the quantized layers, then everything else, in the plan's order.

    Args:
        bits: width of each layer's codes.
        mixed_bits: 8, 16 or 32 for M_q^v, what its restored channels are kept at; None for M_q.
        integer_biases: move the convolutions' stored biases to the grid that integer kernels add them in.
    """
    modules = modules_by_name(model)
    for layer in plan.layers:
        _transfer_layer(modules[layer.name], bits[layer.name], stream, mixed_bits)
    for proxy in activation_proxies(model).values():
        for tensor in stored_range(proxy):
            tensor.copy_(stream.exact(tensor, "activations"))
        mark_calibrated_(proxy)
    for kind, name, tensor in tensors_outside_layers(model, plan):
        if kind == "half":
            tensor.copy_(stream.half(tensor))
        elif kind == "embedding":
            scale = stream.half(column_scale(tensor))
            tensor.copy_(stream.signed(column_codes(tensor, scale)).float() * scale)
        elif kind == "grid":
            proxy = quantizer_at(model, plain_name(name))
            scale, codes = activation_grid(proxy)[0], tensor / activation_grid(proxy)[0]
            codes = codes.round().clamp(*code_range(proxy)).to(torch.int8)
            tensor.copy_(stream.signed(codes).float() * scale)
        else:
            tensor.copy_(stream.exact(tensor, kind))
    if integer_biases:  # last: the grid hangs on the activations' scales
        for layer in plan.layers:
            source = _input_quantizer(model, layer.name, plan)
            if source.is_quant_enabled:
                round_bias_(modules[layer.name], activation_grid(source)[0])


def _input_quantizer(model: nn.Module, name: str, plan: Plan) -> ActivationProxy:
    """The quantizer whose codes a layer reads: its own, or on integer hardware perhaps one before it."""
    layer: QuantLayer = model.get_submodule(name)
    own = layer.input_quant
    ready = not own.is_quant_enabled and name in plan.grids.ready
    return quantizer_at(model, plan.grids.ready[name]) if ready else own


def _transfer_layer(layer: QuantLayer, bits: float, stream: Stream, mixed_bits: int | None) -> None:
    quantizer = weight_quantizer(layer)
    set_bits_(quantizer, bits)
    codes, scale, zero_point = stream.layer(layer)
    restored, restored_rows = _restored_channels(layer, stream, mixed_bits)
    kept = ~restored
    offset = float(quantizer.int_quant.max_int(quantizer.msb_clamp_bit_width_impl())) * quantizer.symmetric
    if not quantizer.symmetric:
        zero_point[kept] = stream.codes(zero_point[kept], bits, "zero_points")
    from_zero = stream.weight_codes(codes[kept] + offset, zero_point[kept] + offset, bits)
    codes[kept] = from_zero - offset
    # A dead channel's scale may vanish beside the layer's largest, and 0 / 0 is no number.
    scale[kept] = stream.half(scale[kept]).clamp_min(SMALLEST_SCALE)
    scale[restored] = 1.0
    write_codes_(layer, codes, scale, zero_point)
    layer.weight[restored] = restored_rows
    layer.bias.copy_(stream.half(layer.bias))


def _restored_channels(layer: QuantLayer, stream: Stream, mixed_bits: int | None) -> tuple[Tensor, Tensor]:
    """VEFT's restored channels: which they are, bool [C_out], and their rows at 8 bits or in float."""
    quantizer = weight_quantizer(layer)
    mask = quantizer.float_mask
    if mixed_bits is None:
        return mask.flatten(), layer.weight[mask.flatten()]
    mask.copy_(stream.codes(mask.float(), 1, "float_mask").bool())
    restored = mask.flatten()
    rows = layer.weight[restored].flatten(1)
    if mixed_bits == 32:
        return restored, stream.exact(rows, "full").view_as(layer.weight[restored])
    if mixed_bits == 16:
        codes, scale, zero_point = _sixteen_bits(rows, stream)
    else:
        codes, scale, zero_point = _eight_bits(rows, quantizer.restored_levels, stream)
    quantizer.restored_grid, quantizer.restored_bits = (codes, scale, zero_point), mixed_bits
    return restored, ((codes - zero_point) * scale).view_as(layer.weight[restored])


def _eight_bits(rows: Tensor, levels: int, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
    scale, _ = search_rows(rows, levels, symmetric=True) if len(rows) else (rows[:, :1], None)
    zero_point = torch.full_like(scale, levels // 2)  # symmetric: what every runtime's int8 holds
    codes = (rows / scale + zero_point).round().clamp(0, levels - 1)
    codes, scale = stream.codes(codes, 8, "restored_codes"), stream.half(scale)
    return codes, scale, stream.codes(zero_point, 8, "zero_points")


def _sixteen_bits(rows: Tensor, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
    """Signed codes around zero point 0, as integer hardware has them; no search pays at this width."""
    scale = (rows.abs().amax(dim=1, keepdim=True) / _LARGEST_16).clamp_min(SMALLEST_SCALE)
    scale = stream.half(scale).clamp_min(SMALLEST_SCALE)
    codes = (rows / scale).round().clamp(-_LARGEST_16, _LARGEST_16)
    codes = stream.exact(codes.to(torch.int16), "restored_codes_16").to(rows.dtype)
    return codes, scale, torch.zeros_like(scale)


def tensors_outside_layers(model: nn.Module, plan: Plan) -> Iterator[tuple[str, str, Tensor]]:
    """Parameters and persistent buffers outside the quantized layers and quantizers, and how each is kept."""
    inside = {f"{layer.name}.{part}" for layer in plan.layers for part in ("weight", "bias")}
    proxies = (name for name, part in model.named_modules() if isinstance(part, QuantProxyFromInjector))
    quantizers = tuple(f"{name}." for name in proxies)
    for name, parameter in model.named_parameters():
        if name in inside or name.startswith(quantizers):
            continue
        vector = parameter.numel() == max([*parameter.shape, 1])
        kind = "embedding" if name in plan.embeddings else "half" if vector else "full"
        yield ("grid" if plain_name(name) != name else kind), name, parameter
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            kept = buffer is not None and name not in module._non_persistent_buffers_set
            if kept and not f"{prefix}.{name}".startswith(quantizers):
                yield "full" if buffer.is_floating_point() else "integers", f"{prefix}.{name}", buffer
