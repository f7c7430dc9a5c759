"""The quantizers that integer hardware needs besides those at layer inputs (``prepare.hardware_grids``).

They are put where the values are made: a layer's own ``output_quant``, a module's ``output_quant`` that a
hook applies to what it returns, a parametrization of a raw parameter, or a module's ``value_quants``
(``prepare.value_quantizers``). The names of all modules stay.
"""

import re

from brevitas.nn import QuantIdentity
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn
from torch.nn.utils import parametrize

from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.prepare.grids import Grids
from brevitas_defakeq.prepare.quantizer_sites import event_of
from brevitas_defakeq.prepare.value_quantizers import add_value_quantizer_
from brevitas_defakeq.quant.activation_quantizer import (
    activation_grid,
    code_range,
    is_shared,
    set_step_,
    share_step_,
)
from brevitas_defakeq.quant.presets import HAQActPerTensorPositive, HAQActPerTensorSymmetric

_ORIGINAL = re.compile(r"parametrizations\.([^.]+)\.original$")


def activation_options(preset: type, bits: int, kind: str = "") -> dict:
    """Brevitas' options of a layer's "input" or "output" quantizer, or of a ``QuantIdentity``'s."""
    prefix = f"{kind}_" if kind else ""
    return {
        f"{kind or 'act'}_quant": preset, f"{prefix}bit_width": bits, f"{prefix}candidate_bits": (bits,)
    }  # fmt: skip


def hardware_preset(positive: bool) -> type:
    """Zero point 0: unsigned where nothing is negative, so that no bit is lost."""
    return HAQActPerTensorPositive if positive else HAQActPerTensorSymmetric


def layer_options(name: str, grids: Grids, bits: int) -> dict:
    """What the quantized layer of that name is made with."""
    options: dict[str, object] = {}
    for kind in ("input", "output"):
        site = f"{name}.{kind}_quant"
        wanted = name not in grids.ready if kind == "input" else any(site in group for group in grids.shared)
        if wanted:
            options |= activation_options(hardware_preset(site in grids.positive), bits, kind)
    return options


def add_quantizers_(model: nn.Module, grids: Grids, bits: int) -> None:
    """Quantize what modules return and raw parameters hold, and put those of a group on one grid, in place.

    The layers are quantized already.
    """
    sites = [site for group in grids.shared for site in group]
    for site in sorted(sites, key=lambda name: event_of(name) is not None):  # events last: see there
        _add_quantizer_(model, site, grids, bits)
    for group in grids.shared:
        if len(group) > 1:
            share_step_([quantizer_at(model, site) for site in group])


def _add_quantizer_(model: nn.Module, site: str, grids: Grids, bits: int) -> None:
    owner, _, name = site.rpartition(".")
    event = event_of(site)
    if name == "output_quant" and hasattr(model.get_submodule(owner), name):  # a layer's own
        return
    quantizer = QuantIdentity(**activation_options(hardware_preset(site in grids.positive), bits))
    if event is not None:
        module = model.get_submodule(event[0])
        add_value_quantizer_(module, event[1], quantizer, grids.callees[event[0]])
    elif name == "output_quant":
        module = model.get_submodule(owner)
        module.output_quant = quantizer
        module.register_forward_hook(_quantized_output)
    else:
        parametrize.register_parametrization(model.get_submodule(owner), name, quantizer)


def _quantized_output(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return module.get_submodule("output_quant")(output)


def quantizer_at(model: nn.Module, site: str) -> ActivationProxy:
    """The activation quantizer (Brevitas' proxy) at a site of ``Grids``."""
    owner, _, name = site.rpartition(".")
    module = model.get_submodule(owner)
    plain = name.endswith("_quant") or event_of(site) is not None
    path = name if plain else f"parametrizations.{name}.0"
    found = module.get_submodule(path)
    return found.act_quant if isinstance(found, QuantIdentity) else found


def plain_name(name: str) -> str:
    """A parameter's name without the parametrization that quantizes it."""
    return _ORIGINAL.sub(r"\1", name)


def limit_ranges_(model: nn.Module, grids: Grids) -> None:
    """No quantizer reaches beyond the clip before it, which then is nothing but its own.

    A shared step is left alone: others need its range.
    """
    names = modules_by_name(model)
    for site, ceiling in grids.ceilings.items():
        if site not in names:
            continue
        proxy = quantizer_at(model, site)
        largest = ceiling / code_range(proxy)[1]
        if not is_shared(proxy) and float(activation_grid(proxy)[0]) > largest:
            set_step_(proxy, largest)
