"""HAQ as one step: scores, the relaxed widths of the layers, and the exact assignment."""

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from torch import Tensor, nn

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.haq.fisher import fisher_costs
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.haq.hardware_widths import hardware_widths, uniform_hardware_width
from brevitas_defakeq.haq.importance import layer_importance, normalized
from brevitas_defakeq.haq.relaxed import learn_bit_widths_
from brevitas_defakeq.haq.sensitivity import Logit, haq_costs, measured_costs, random_costs, taylor_costs
from brevitas_defakeq.haq.solver import solve
from brevitas_defakeq.nn.module_tree import weight_of
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import Meter, ProgressCallback
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)
_BATCH = 8


def allocate(
    reference: nn.Module,
    layers: Mapping[str, nn.Module],
    plan: Plan,
    energies: Mapping[str, Tensor],
    config: DefakeQConfig,
    *,
    images: Tensor,
    logit: Logit,
    meter: Meter,
    on_progress: ProgressCallback,
    hardware: HardwareCosts | None = None,
) -> dict[str, float]:
    """Width of every layer, within ``config.average_bits`` and ``config.budget``.

    Args:
        reference: M_f, prepared.
        layers: M_q's layers; their quantizers carry b̂ afterwards.
        energies: A_j per layer.
        images: calibration images for "taylor", "measured" and "fisher", [M, 3, H, W].
        logit: output of the detector -> fake logit.
        hardware: costs of layers on a chip, for a ``config.budget``.

    Raises:
        UserError: a pinned layer is unknown, its width is no candidate, or no widths fit.
    """
    sizes = {layer.name: layer.num_params for layer in plan.layers}
    _check_pinned(config, sizes)
    if not config.haq.enabled:
        return uniform(sizes, config, hardware)
    modules = dict(reference.named_modules())
    floats = {name: modules[name] for name in sizes}
    importance = layer_scores(floats, energies)
    if config.haq.sensitivity == "haq":
        costs = haq_costs(importance, config.candidate_bits, config.haq.error_base)
    elif config.haq.sensitivity == "random":
        costs = random_costs(sizes, config.candidate_bits, config.seed)
    else:
        batches = images[: config.haq.sensitivity_images].split(_BATCH)
        costs = _observed_costs(reference, floats, plan, config, batches, logit, meter, on_progress)
    costs = _pinned(costs, config)
    if hardware is not None:  # eq. 6 has no term for other budgets than average bits
        return hardware_widths(costs, sizes, config, hardware)
    quantizers = {name: weight_quantizer(layer) for name, layer in layers.items()}
    learned = learn_bit_widths_(
        quantizers, importance, sizes, config.average_limit, error_base=config.haq.error_base,
        penalty=config.haq.penalty, steps=config.haq.relaxed_steps, lr=config.haq.relaxed_lr,
    )  # fmt: skip
    exact = solve(costs, sizes, config.candidate_bits, config.average_limit)
    gap = max(abs(exact[name] - learned[name]) for name in sizes)
    _LOG.info("exact widths differ from the relaxed optimum by at most %.2f bits", gap)
    return exact


def layer_scores(layers: Mapping[str, nn.Module], energies: Mapping[str, Tensor]) -> dict[str, float]:
    """S_l of the float layers (eq. 4), divided by their mean."""
    return normalized(
        {name: layer_importance(weight_of(layer), energies[name]) for name, layer in layers.items()}
    )


def uniform(
    sizes: Mapping[str, int], config: DefakeQConfig, hardware: HardwareCosts | None = None
) -> dict[str, float]:
    """The largest candidate within the budgets for every layer (the ablation without HAQ)."""
    if hardware is not None:
        width = uniform_hardware_width(sizes, config, hardware)
    else:
        width = max(bits for bits in config.candidate_bits if bits <= config.average_limit)
    return {name: float(config.haq.pinned.get(name, width)) for name in sizes}


def _observed_costs(
    reference: nn.Module,
    floats: Mapping[str, nn.Module],
    plan: Plan,
    config: DefakeQConfig,
    batches: Sequence[Tensor],
    logit: Logit,
    meter: Meter,
    on_progress: ProgressCallback,
) -> dict[str, list[float]]:
    """Costs that need images: Taylor's, Fisher's, or the measured output error."""
    widths, count, symmetric = config.candidate_bits, sum(map(len, batches)), config.target == "fpga"
    if config.haq.sensitivity == "taylor":
        meter.add("allocate", count * (1 + len(widths)), training=True)
        return taylor_costs(reference, floats, batches, logit, widths, symmetric=symmetric)
    if config.haq.sensitivity == "fisher":
        meter.add("allocate", count, training=True)
        return fisher_costs(reference, floats, batches, logit, widths, symmetric=symmetric)
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
    """The costs with ``inf`` for every width of a pinned layer but its own."""
    infinite = float("inf")
    return {
        name: [
            cost if config.haq.pinned.get(name, bits) == bits else infinite
            for cost, bits in zip(layer_costs, config.candidate_bits, strict=True)
        ]
        for name, layer_costs in costs.items()
    }


def _check_pinned(config: DefakeQConfig, sizes: Mapping[str, int]) -> None:
    for name, bits in sorted(config.haq.pinned.items()):
        if name not in sizes:
            close = get_close_matches(name, sizes, n=3) or list(sizes)[:3]
            raise UserError(f"pinned layer {name!r} is not quantized here; did you mean {', '.join(close)}?")
        if bits not in config.candidate_bits:
            widths = ", ".join(f"{width:g}" for width in config.candidate_bits)
            raise UserError(
                f"pinned {name}: {bits:g} bits is not among the candidates {widths}; add it to them"
            )
