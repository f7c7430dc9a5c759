"""The result: M_q and M_q^v as plain modules, and the run folder that holds them.

run/config.json          settings of the run, and how to rebuild its models (plan, widths, preprocessing)
run/weights.safetensors  M_q: codes packed and entropy-coded, half-precision scales and biases
run/mixed.safetensors    M_q^v, likewise
run/report.json          metrics, sizes and times
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.plain_module import plain_module
from brevitas_defakeq.detectors.resolve import build, fill_, registered_weights
from brevitas_defakeq.detectors.weights_sources import Files
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.nn.module_tree import copy_module, device_of
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.plan import Plan, replay_preparation_
from brevitas_defakeq.prepare.simplify import replay_products_
from brevitas_defakeq.storage.weights_index import read_weights, weights_file
from brevitas_defakeq.storage.weights_transfer import WeightsReader, transfer
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, understanding, write_bytes, write_json
from brevitas_defakeq.variants import QUANTIZED_VARIANTS

#: Format 1 kept the codes of all widths as one bit stream, and deflated nothing.
RUN_FORMAT_VERSION, READ_FORMAT_VERSIONS = 2, (1, 2)
#: Variant -> its file in the run folder.
WEIGHTS_FILES = dict(zip(QUANTIZED_VARIANTS, ("weights.safetensors", "mixed.safetensors"), strict=True))


@dataclass(kw_only=True)
class QuantizedDetector:
    """The result of a run, from ``quantize`` or ``load``.

    Attributes:
        quantized: M_q, a plain module with the float detector's signature.
        mixed: M_q^v, with VEFT's channels restored.
        bits: layer name -> width.
        report: the content of ``report.json``.
        config: settings of the run.
        plan: of the float model.
        observer: reads logit and feature of both models.
        spec: how to rebuild the float architecture; kind "module" for one that the user's code made.
        preprocessing: None for a detector that was calibrated on tensors alone.
        packed: variant -> the tensors of its weights file.
    """

    quantized: nn.Module
    mixed: nn.Module
    bits: dict[str, float]
    report: dict[str, Any]
    config: DefakeQConfig
    plan: Plan
    observer: Observer
    spec: dict[str, Any]
    preprocessing: Preprocessing | None
    packed: dict[str, dict[str, Tensor]] = field(repr=False)

    def save(self, folder: str | Path) -> None:
        """Write the run folder; each file appears whole or not at all."""
        folder = Path(folder)
        for variant, name in WEIGHTS_FILES.items():
            write_bytes(folder / name, self.weights_bytes(variant))
        write_json(folder / "config.json", self._settings())
        write_json(folder / "report.json", self.report)

    def weights_bytes(self, variant: str) -> bytes:
        """Content of the weights file; its length is ``size_bytes``."""
        mixed_bits = self.config.mixed_channel_bits if variant == "mixed" else None
        return weights_file(getattr(self, variant), self.packed[variant], self.plan, self.bits, mixed_bits)

    def _settings(self) -> dict[str, Any]:
        return {
            "format_version": RUN_FORMAT_VERSION,
            "config": self.config.to_dict(),
            "detector": self.spec,
            "preprocessing": self.preprocessing.to_dict() if self.preprocessing else None,
            "output": self.observer.output.to_dict(),
            "feature": {"path": self.observer.path, "side": self.observer.side},
            "plan": self.plan.to_dict(),
            "bits": self.bits,
        }


def float_bytes(model: nn.Module) -> int:
    """Length of the float32 weights as a safetensors file: the base of every size ratio."""
    tensors: dict[str, Tensor] = {}
    addresses: set[int | None] = set()  # tied weights count once
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.data_ptr() not in addresses and "num_batches" not in name:
            addresses.add(tensor.data_ptr() if tensor.numel() else None)
            tensors[name] = tensor.detach().float().contiguous() if tensor.is_floating_point() else tensor
    return len(save(tensors))


@torch.random.fork_rng(devices=[])  # new layers draw weights that are overwritten at once
def quantized_copy(reference: nn.Module, plan: Plan, config: DefakeQConfig) -> nn.Module:
    """A quantized copy of a prepared float model; shares nothing with it."""
    scheme = QuantScheme.of_target(
        config.target, config.candidate_bits, config.activation_bits,
        logarithmic=config.activation_quantizer == "log",
    )  # fmt: skip
    model = copy_module(reference)
    insert_quantizers_(model, plan, scheme)
    return model.to(device_of(reference)).eval()


def load(folder: str | Path, detector: nn.Module | None = None) -> QuantizedDetector:
    """Load the result of a run.

    Args:
        folder: the run folder, written by ``save`` or ``defakeq quantize --out``.
        detector: a float module of the same architecture, needed only if the run was made from a module and
            not from a name; its weights do not matter.

    Raises:
        UserError: the folder is missing, damaged, unfinished or of a newer format.
    """
    folder = Path(folder)
    settings = read_json(folder / "config.json")
    if settings.get("format_version") not in READ_FORMAT_VERSIONS:
        raise UserError(
            f"{folder}: run folder format {settings.get('format_version')} is not 1 or 2; "
            "quantize again, or use the version that wrote it"
        )
    with understanding(folder / "config.json"):
        config, plan = DefakeQConfig.from_dict(settings["config"]), Plan.from_dict(settings["plan"])
        observer = Observer(OutputSpec(**settings["output"]), **settings["feature"])
        bits = {layer.name: settings["bits"][layer.name] for layer in plan.layers}
        spec, raw = settings["detector"], settings["preprocessing"]
        preprocessing = Preprocessing.from_dict(raw) if raw else None
    report = read_json(folder / "report.json")
    reference = _architecture(spec, detector, folder, config.seed)
    _make_product_layers_(reference, plan, folder)
    _check_fits(reference, plan, folder)
    replay_preparation_(reference, plan)
    packed = {variant: _read_tensors(folder / name) for variant, name in WEIGHTS_FILES.items()}
    models = {}
    for variant, tensors in packed.items():
        models[variant] = quantized_copy(reference, plan, config)
        mixed_bits = config.mixed_channel_bits if variant == "mixed" else None
        _unpack_(models[variant], tensors, plan, bits, mixed_bits, config, folder / WEIGHTS_FILES[variant])
    return QuantizedDetector(
        **models, bits=bits, report=report, config=config, plan=plan, observer=observer, spec=spec,
        preprocessing=preprocessing, packed=packed,
    )  # fmt: skip


def _unpack_(
    model: nn.Module, tensors: dict[str, Tensor], plan: Plan, bits: dict[str, float],
    mixed_bits: int | None, config: DefakeQConfig, path: Path,
) -> None:  # fmt: skip
    """Unpack a weights file into a quantized copy. Raises UserError where anything is left over."""
    stream = WeightsReader(tensors)
    transfer(model, plan, bits, stream, mixed_bits=mixed_bits, integer_biases=config.target != "any")
    if any(stream.position[kind] != len(tensor) for kind, tensor in tensors.items()):
        raise UserError(f"{path} does not fit its config.json; the run folder is damaged")


def load_float(result: QuantizedDetector, weights: Files | None) -> nn.Module:
    """The float detector of a run with its weights, which a run folder does not hold."""
    if weights is None:
        weights = registered_weights(result.spec)
    if weights is None:
        raise UserError("a run folder holds no float weights; give --weights with the float checkpoint")
    model = build(result.spec)
    fill_(model, result.spec, weights)
    return model.eval()


def _architecture(spec: dict[str, Any], detector: nn.Module | None, folder: Path, seed: int) -> nn.Module:
    if detector is not None:
        return copy_module(plain_module(detector)).eval()
    if spec.get("kind") == "module":
        raise UserError(
            f"{folder} was made from a module of class {spec.get('name')}; "
            "load it with load(folder, detector=your_module)"
        )
    return build(spec, seed).eval()


def _make_product_layers_(model: nn.Module, plan: Plan, folder: Path) -> None:
    """Raises UserError where the architecture has none of the modules."""
    try:
        replay_products_(model, plan.products)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} was made from another detector ({error}); give the same architecture"
        ) from None


def _check_fits(model: nn.Module, plan: Plan, folder: Path) -> None:
    """Check that the architecture has the layers of the run. Raises UserError."""
    modules = dict(model.named_modules())
    for layer in plan.layers:
        weight = getattr(modules.get(layer.name), "weight", None)
        if weight is None or tuple(weight.shape) != layer.weight_shape:
            found = "nothing of that name" if weight is None else f"shape {list(weight.shape)}"
            raise UserError(
                f"{folder} was made from another detector: layer {layer.name} had a weight of shape "
                f"{list(layer.weight_shape)}, this one has {found}; give the same architecture"
            )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise UserError(f"{path} does not exist; the run has not finished: start the same command again")
    return {name: torch.from_numpy(array) for name, array in read_weights(path)[1].items()}
