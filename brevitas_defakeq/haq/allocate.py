"""HAQ as one step: scores, the relaxed optimum that the layers carry, and the exact assignment."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.haq.hardware_widths import hardware_widths, uniform_hardware_width
from brevitas_defakeq.haq.importance import layer_importance, normalized
from brevitas_defakeq.haq.relaxed import learn_bit_widths_
from brevitas_defakeq.haq.sensitivity import Logit, haq_costs, measured_costs, taylor_costs
from brevitas_defakeq.haq.solver import solve
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import Meter, ProgressCallback
from brevitas_defakeq.quant.bit_width import storage_bits
from brevitas_defakeq.quant.partial_float import weight_quantizer

_LOG = logging.getLogger(__name__)
_BATCH = 8


def allocate(
    reference: nn.Module,
    layers: Mapping[str, nn.Module],
    plan: Plan,
    energies: Mapping[str, Tensor],
    images: Tensor,
    logit: Logit,
    config: DefakeQConfig,
    meter: Meter,
    on_progress: ProgressCallback,
    hardware: HardwareCosts | None = None,
) -> dict[str, float]:
    """Width of every layer, within ``config.average_bits`` and ``config.budget``.

    Args:
        reference: M_f, prepared. ``layers``: M_q's layers, which carry b̂.
        energies: A_j per layer.
        images: calibration images for the costlier scores, [M, 3, H, W].
        logit: fake logit of what the detector returns.
        hardware: what layers cost on a chip, for a ``config.budget``.
    """
    sizes = {layer.name: layer.num_params for layer in plan.layers}
    unknown = sorted(set(config.haq.pinned) - set(sizes))
    if unknown:
        raise_unknown_layer(unknown[0], sizes)
    if not config.haq.enabled:
        return uniform(sizes, config, hardware)
    floats = dict(reference.named_modules())
    floats = {name: floats[name] for name in sizes}
    importance = layer_scores(floats, energies)
    if hardware is not None:  # eq. 6 knows average bits only
        costs = _costs(reference, floats, plan, importance, images, logit, config, meter, on_progress)
        return hardware_widths(_pinned(costs, config), sizes, config, hardware)
    quantizers = {name: weight_quantizer(layer) for name, layer in layers.items()}
    learned = learn_bit_widths_(
        quantizers, importance, sizes, config.average_bits, error_base=config.haq.error_base,
        penalty=config.haq.penalty, steps=config.haq.relaxed_steps, lr=config.haq.relaxed_lr,
    )  # fmt: skip
    costs = _costs(reference, floats, plan, importance, images, logit, config, meter, on_progress)
    exact = solve(_pinned(costs, config), sizes, config.candidate_bits, config.average_bits)
    gap = max(abs(exact[name] - learned[name]) for name in sizes)
    _LOG.info("exact widths differ from the relaxed optimum by at most %.2f bits", gap)
    return exact


def layer_scores(layers: Mapping[str, nn.Module], energies: Mapping[str, Tensor]) -> dict[str, float]:
    """S_l of the float layers (eq. 4), divided by their mean."""
    return normalized(
        {name: layer_importance(layer.weight, energies[name]) for name, layer in layers.items()}
    )


def uniform(
    sizes: Mapping[str, int], config: DefakeQConfig, hardware: HardwareCosts | None = None
) -> dict[str, float]:
    """The largest candidate within the budgets for every layer (the ablation without HAQ)."""
    if hardware is not None:
        width = uniform_hardware_width(sizes, config, hardware)
    else:
        width = max(bits for bits in config.candidate_bits if storage_bits(bits) <= config.average_bits)
    return {name: float(config.haq.pinned.get(name, width)) for name in sizes}


def _costs(
    reference, floats, plan, importance, images, logit, config, meter, on_progress
) -> dict[str, list[float]]:
    kind, widths = config.haq.sensitivity, config.candidate_bits
    if kind == "haq":
        return haq_costs(importance, widths, config.haq.error_base)
    batches = images[: config.haq.sensitivity_images].split(_BATCH)
    count = sum(map(len, batches))
    symmetric = config.target == "fpga"
    if kind == "taylor":
        meter.add("allocate", count * (1 + len(widths)), training=True)
        return taylor_costs(reference, floats, batches, logit, widths, symmetric=symmetric)
    blocks = [(block.name, block.layers) for block in plan.blocks]
    done = 0

    def count_layer(step: int) -> None:
        nonlocal done
        done += step
        on_progress("allocate", done, len(floats))

    meter.add("allocate", count * len(widths) * len(floats) / 2)
    return measured_costs(
        reference, floats, blocks, batches, logit, widths, matching=config.reconstruction.matching,
        symmetric=symmetric, progress=count_layer,
    )  # fmt: skip


def _pinned(costs: Mapping[str, list[float]], config: DefakeQConfig) -> dict[str, list[float]]:
    """Pinned layers may only take their own width."""
    infinite = float("inf")
    return {
        name: [
            cost if config.haq.pinned.get(name, bits) == bits else infinite
            for cost, bits in zip(layer_costs, config.candidate_bits, strict=True)
        ]
        for name, layer_costs in costs.items()
    }


def raise_unknown_layer(name: str, sizes: Mapping[str, int]) -> None:
    from difflib import get_close_matches

    from brevitas_defakeq.utils.errors import UserError

    close = get_close_matches(name, sizes, n=3) or list(sizes)[:3]
    raise UserError(f"pinned layer {name!r} is not quantized here; did you mean {', '.join(close)}?")
