"""Cost of each layer's width: HAQ's score, Taylor's first order, the measured error of the logit, or chance.

Each function gives ``{layer: [cost at every candidate, ascending]}`` for the exact solver. The estimate
has to match the deployed model: with output matching on, "measured" applies it too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from brevitas_defakeq.config import Matching
from brevitas_defakeq.haq.solver import monotone
from brevitas_defakeq.nn.hook_state import has_hooks_inside
from brevitas_defakeq.nn.layer_kinds import channel_dim, layer_kind_of
from brevitas_defakeq.nn.module_tree import removed_after, replayed, weight_of
from brevitas_defakeq.quant.integer_range import effective_bits, num_levels
from brevitas_defakeq.quant.matching import MATCHING_TARGETS, MatchingTarget
from brevitas_defakeq.quant.moments import along_channels
from brevitas_defakeq.quant.range_search import search_rows

#: Output of the detector -> fake logit [N].
Logit = Callable[[object], Tensor]


def haq_costs(
    importance: Mapping[str, float], candidate_bits: Sequence[float], error_base: float
) -> dict[str, list[float]]:
    """``S_l E(b)`` with ``E(b) = error_base^-b`` (eq. 5)."""
    widths = [float(effective_bits(torch.tensor(float(bits)))) for bits in candidate_bits]
    return {name: [score * error_base**-bits for bits in widths] for name, score in importance.items()}


def random_costs(
    sizes: Mapping[str, int], candidate_bits: Sequence[float], seed: int
) -> dict[str, list[float]]:
    """Costs for widths drawn at random, the baseline of every other choice: ``p_l 4^(v_l - b)``.

    v_l is uniform over the span of the candidates. Of such costs the least sum within a budget is where each
    width lies as near to v_l, up or down by the same for all layers, as candidates allow, whatever p_l is.
    """
    span = max(candidate_bits) - min(candidate_bits)
    generator = torch.Generator().manual_seed(seed)
    drawn = span * torch.rand(len(sizes), generator=generator, dtype=torch.float64)
    importance = {
        name: size * 4.0**bits for (name, size), bits in zip(sizes.items(), drawn.tolist(), strict=True)
    }
    return haq_costs(importance, candidate_bits, error_base=4.0)


def rounded(weight: Tensor, bits: float, symmetric: bool) -> Tensor:
    """Weight rounded to nearest at ``bits`` within its searched range, shaped like ``weight``."""
    levels = int(num_levels(effective_bits(torch.tensor(float(bits))), signed_narrow=symmetric))
    rows = weight.detach().flatten(1)
    scale, zero = search_rows(rows, levels, symmetric=symmetric)
    half = (levels - 1) // 2
    low, high = (-half, half) if symmetric else (0, levels - 1)
    return (((rows / scale + zero).round().clamp(low, high) - zero) * scale).view_as(weight)


def taylor_costs(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Sequence[Tensor],
    logit: Logit,
    candidate_bits: Sequence[float],
    *,
    symmetric: bool = False,
) -> dict[str, list[float]]:
    """Mean over images of ``(dz/dW_l . dW_l(b))^2``: one backward pass, every layer and width at once.

    The product is taken at the layer's output (``<dz/dy, dW x>``), which gives it image by image.
    """
    deltas = {
        name: [rounded(weight, bits, symmetric) - weight.detach() for bits in candidate_bits]
        for name, weight in ((name, weight_of(layer)) for name, layer in layers.items())
    }
    sums = {name: torch.zeros(len(candidate_bits), dtype=torch.float64) for name in layers}
    count = 0
    for batch in batches:
        changes = {name: torch.zeros(len(candidate_bits), len(batch)) for name in layers}
        with _recorded_changes(layers, deltas, changes, len(batch)), torch.enable_grad():
            logit(model(batch.clone().requires_grad_())).sum().backward()
        model.zero_grad(set_to_none=True)
        count += len(batch)
        for name in layers:
            sums[name] += changes[name].double().square().sum(dim=1)
    return {name: monotone((total / count).tolist()) for name, total in sums.items()}


@contextmanager
def _recorded_changes(layers: Mapping, deltas: Mapping, changes: dict, images: int) -> Iterator[None]:
    def attach(name: str, layer: nn.Module) -> Callable[..., None]:
        kind = layer_kind_of(layer)

        def hook(_: nn.Module, inputs: tuple, output: Tensor) -> None:
            source = inputs[0].detach().to(weight_of(layer).dtype)  # not so inside torch.autocast

            @torch.no_grad()
            def at_output(gradient: Tensor) -> None:
                for index, delta in enumerate(deltas[name]):
                    moved = kind.operation(layer, source, delta, None) * gradient
                    changes[name][index] += moved.reshape(images, -1).sum(dim=1).cpu()

            output.register_hook(at_output)

        return hook

    handles = [
        layer.register_forward_hook(attach(name, layer), prepend=True) for name, layer in layers.items()
    ]
    with removed_after(handles):
        yield


@torch.no_grad()
def measured_costs(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    blocks: Sequence[tuple[str, Sequence[str]]],
    batches: Sequence[Tensor],
    logit: Logit,
    candidate_bits: Sequence[float],
    *,
    matching: Matching,
    symmetric: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    """Mean squared change of the logit when one layer alone is rounded, restarted at its block.

    Args:
        blocks: (module name, layer names), in data-flow order; outputs of earlier blocks that run once are
            replayed.
        matching: how the rounded layer's output is matched to the float layer's first.
    """
    modules = dict(model.named_modules())
    kind = MATCHING_TARGETS.get(matching)
    recording = _record(model, layers, {name: modules[name] for name, _ in blocks}, batches, logit, kind)
    images = sum(map(len, batches))
    costs: dict[str, list[float]] = {}
    for index, (_, inside) in enumerate(blocks):
        earlier = [
            name
            for name, _ in blocks[:index]
            if len(recording.outputs[name]) == len(batches) and not has_hooks_inside(modules[name])
        ]
        outputs = {modules[name]: recording.outputs[name] for name in earlier}
        for name in inside:
            recorded = recording.targets[name]
            targets = recorded if len(recorded) == len(batches) else None  # called once
            errors = []
            for bits in candidate_bits:
                with _rounded(layers[name], bits, symmetric):
                    found = _logits_with(model, layers[name], batches, outputs, targets, logit)
                    pairs = zip(found, recording.logits, strict=True)
                    errors.append(sum(float((logits - wanted).square().sum()) for logits, wanted in pairs))
            costs[name] = monotone([error / images for error in errors])
            progress(1)
    return {name: costs[name] for name in layers}


@contextmanager
def _rounded(layer: nn.Module, bits: float, symmetric: bool) -> Iterator[None]:
    """Within the context the layer's weight is rounded to nearest at ``bits``."""
    weight = weight_of(layer)
    original = weight.data
    weight.data = rounded(original, bits, symmetric)
    try:
        yield
    finally:
        weight.data = original


def _logits_with(
    model: nn.Module,
    layer: nn.Module,
    batches: Sequence[Tensor],
    outputs: Mapping[nn.Module, Sequence[Tensor]],
    targets: Sequence[MatchingTarget] | None,
    logit: Logit,
) -> Iterator[Tensor]:
    """Logits of each batch, with ``outputs`` replayed and the layer's output matched to ``targets``."""
    for index, batch in enumerate(batches):
        # Copies, because modules behind a block may work in place.
        replay = {module: kept[index].clone() for module, kept in outputs.items()}
        with replayed(replay), _matched(layer, targets[index] if targets else None):
            yield logit(model(batch))


@dataclass(frozen=True)
class _Recording:
    """Outputs of blocks, what layers' outputs are matched to, and logits of the float model, by batch."""

    outputs: Mapping[str, list[Tensor]]
    targets: Mapping[str, list[MatchingTarget]]
    logits: Sequence[Tensor]


def _record(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    blocks: Mapping[str, nn.Module],
    batches: Sequence[Tensor],
    logit: Logit,
    kind: type[MatchingTarget] | None,
) -> _Recording:
    outputs: dict[str, list[Tensor]] = {name: [] for name in blocks}
    targets: dict[str, list[MatchingTarget]] = {name: [] for name in layers}

    def keep_output(name: str) -> Callable[..., None]:
        return lambda _, __, output: outputs[name].append(output.clone())

    def keep_target(name: str, layer: nn.Module, kind: type[MatchingTarget]) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            targets[name].append(kind())
            targets[name][-1].add(output, channel_dim(layer))

        return hook

    handles = [block.register_forward_hook(keep_output(name)) for name, block in blocks.items()]
    if kind is not None:
        handles += [
            layer.register_forward_hook(keep_target(name, layer, kind), prepend=True)
            for name, layer in layers.items()
        ]
    with removed_after(handles):
        return _Recording(outputs, targets, [logit(model(batch)) for batch in batches])


@contextmanager
def _matched(layer: nn.Module, target: MatchingTarget | None) -> Iterator[None]:
    """Within the context the layer's output is matched to ``target``."""
    if target is None:
        yield
        return

    def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
        dim = channel_dim(layer)
        gain, shift = target.affine(output, dim)
        return output * along_channels(gain, output, dim) + along_channels(shift, output, dim)

    with removed_after([layer.register_forward_hook(hook, prepend=True)]):
        yield
