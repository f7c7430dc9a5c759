"""What a layer's width costs the detector: HAQ's score, Taylor's first order, or the measured error.

Each gives ``{layer: [cost at every candidate, ascending]}`` for the exact solver. Estimator and
deployment must match: with output matching on, "measured" measures behind the matching.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from brevitas_defakeq.haq.solver import monotone
from brevitas_defakeq.nn.layer_kinds import channel_dim, layer_kind_of
from brevitas_defakeq.nn.module_tree import removed_after, replayed
from brevitas_defakeq.quant.integer_range import effective_bits, num_levels
from brevitas_defakeq.quant.moments import ChannelMoments, along_channels, matching_affine
from brevitas_defakeq.quant.range_search import search_rows

#: fake logit [N] of what the detector returned
Logit = Callable[[object], Tensor]


def haq_costs(
    importance: Mapping[str, float], candidate_bits: Sequence[float], error_base: float
) -> dict[str, list[float]]:
    """``S_l E(b)`` with ``E(b) = error_base^-b`` (eq. 5)."""
    widths = [float(effective_bits(torch.tensor(float(bits)))) for bits in candidate_bits]
    return {name: [score * error_base**-bits for bits in widths] for name, score in importance.items()}


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
        name: [rounded(layer.weight, bits, symmetric) - layer.weight.detach() for bits in candidate_bits]
        for name, layer in layers.items()
    }
    sums = {name: torch.zeros(len(candidate_bits), dtype=torch.float64) for name in layers}
    count = 0
    for batch in batches:
        changes = {name: torch.zeros(len(candidate_bits), len(batch)) for name in layers}
        with _watched(layers, deltas, changes, len(batch)), torch.enable_grad():
            logit(model(batch.clone().requires_grad_())).sum().backward()
        model.zero_grad(set_to_none=True)
        count += len(batch)
        for name in layers:
            sums[name] += changes[name].double().square().sum(dim=1)
    return {name: monotone((total / count).tolist()) for name, total in sums.items()}


@contextmanager
def _watched(layers: Mapping, deltas: Mapping, changes: dict, images: int) -> Iterator[None]:
    def attach(name: str, layer: nn.Module) -> Callable[..., None]:
        kind = layer_kind_of(layer)

        def hook(_, inputs: tuple, output: Tensor) -> None:
            source = inputs[0].detach()

            @torch.no_grad()
            def at_output(gradient: Tensor) -> None:
                for index, delta in enumerate(deltas[name]):
                    moved = kind.operation(layer, source, delta, None) * gradient
                    changes[name][index] += moved.reshape(images, -1).sum(dim=1).cpu()

            output.register_hook(at_output)

        return hook

    handles = [layer.register_forward_hook(attach(name, layer)) for name, layer in layers.items()]
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
    matching: bool,
    symmetric: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, list[float]]:
    """Mean squared change of the logit when one layer alone is rounded, restarted at its block.

    Args:
        blocks: (module name, layer names), in data-flow order; outputs of earlier blocks that run once are
            replayed.
        matching: match the rounded layer's output in mean and spread to the float layer's first.
    """
    modules = dict(model.named_modules())
    outputs, moments, reference = _record(model, layers, modules, blocks, batches, logit)
    costs: dict[str, list[float]] = {}
    for index, (_, inside) in enumerate(blocks):
        earlier = [name for name, _ in blocks[:index] if len(outputs[name]) == len(batches)]
        for name in inside:
            layer, original = layers[name], layers[name].weight.data
            errors = []
            for bits in candidate_bits:
                layer.weight.data = rounded(original, bits, symmetric)
                try:
                    total = 0.0
                    for number, batch in enumerate(batches):
                        # Copies, for what follows a block may work in place.
                        replay = {modules[early]: outputs[early][number].clone() for early in earlier}
                        once = len(moments[name]) == len(batches)  # a layer called twice is not matched
                        target = moments[name][number] if matching and once else None
                        with replayed(replay), _matched(layer, target):
                            total += float((logit(model(batch)) - reference[number]).square().sum())
                    errors.append(total)
                finally:
                    layer.weight.data = original
            costs[name] = monotone([error / sum(map(len, batches)) for error in errors])
            progress(1)
    return {name: costs[name] for name in layers}


def _record(model, layers, modules, blocks, batches, logit):
    outputs: dict[str, list[Tensor]] = {name: [] for name, _ in blocks}
    moments: dict[str, list[ChannelMoments]] = {name: [] for name in layers}

    def keep_output(name: str):
        return lambda _, __, output: outputs[name].append(output.clone())

    def keep_moments(name: str, layer: nn.Module):
        def hook(_, __, output: Tensor) -> None:
            moments[name].append(ChannelMoments())
            moments[name][-1].add(output, channel_dim(layer))

        return hook

    handles = [modules[name].register_forward_hook(keep_output(name)) for name, _ in blocks]
    handles += [layer.register_forward_hook(keep_moments(name, layer)) for name, layer in layers.items()]
    with removed_after(handles):
        reference = [logit(model(batch)) for batch in batches]
    return outputs, moments, reference


@contextmanager
def _matched(layer: nn.Module, target: ChannelMoments | None) -> Iterator[None]:
    def hook(_, __, output: Tensor) -> Tensor:
        actual = ChannelMoments()
        actual.add(output, channel_dim(layer))
        gain, shift = matching_affine(target, actual)
        dim = channel_dim(layer)
        return output * along_channels(gain, output, dim) + along_channels(shift, output, dim)

    with removed_after([] if target is None else [layer.register_forward_hook(hook)]):
        yield
