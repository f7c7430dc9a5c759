"""Apple's coreai-opt: weights as indices into k-means palettes, of one width or mixed of 2, 4 and 6 bits.

Palettes as in its presets: one for every 16 output channels. Calibrated as its documentation says, k-means
weighted by squared gradients; the labels of its loss are the float detector's verdicts. The mixed recipe is
Apple's for its image models: each layer gets the least width at which, palettized alone, the network's output
is changed by at most an error, the same for all layers and as small as the average width allows.

The Core AI converter is no part of the package, so the file is the palettes and scales in half precision, the
indices packed at their width and what is not palettized in half precision.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.exchange import Given, Made, Peer, serve

_WIDTHS = (2, 4, 6)
_GROUP = 16
_BATCH = 32
#: Images on which the mixed recipe compares widths.
_COMPARED = 64


def layers(model: Any) -> dict[str, Any]:
    from torch import nn

    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }


def palettized(given: Given, widths: dict[str, int], *, calibrated: bool = True) -> Any:
    """The module with palettes in those layers, the others in float."""
    import torch
    from coreai_opt.palettization import KMeansPalettizer, KMeansPalettizerConfig
    from torch.nn.functional import binary_cross_entropy_with_logits

    model = given.module()
    images = torch.from_numpy(given.calibration())
    config = KMeansPalettizerConfig(global_config=None)
    for name, bits in widths.items():
        config.set_module_name(name, palettes(layers(model)[name].weight.shape[0], bits))
    palettizer = KMeansPalettizer(model, config)
    prepared = palettizer.prepare((images[:1],))
    if calibrated:
        verdicts = torch.from_numpy(predicted(given.module(), given.calibration()) > 0).float()[:, None]
        with palettizer.calibration_mode(loss_fn=binary_cross_entropy_with_logits) as calibration:
            for batch, verdict in zip(images.split(_BATCH), verdicts.split(_BATCH), strict=True):
                calibration.step(prepared(batch), verdict)
    return prepared.eval()


def palettes(channels: int, bits: int) -> Any:
    """Groups as in the tool's presets: of 16 channels, at 8 bits the whole layer."""
    from coreai_opt.palettization import ModuleKMeansPalettizerConfig, PalettizationSpec
    from coreai_opt.palettization.spec import PerGroupedChannelGranularity, PerTensorGranularity

    whole = bits == 8 or channels % _GROUP
    groups = PerTensorGranularity() if whole else PerGroupedChannelGranularity(axis=0, group_size=_GROUP)
    spec = PalettizationSpec(n_bits=bits, granularity=groups)
    return ModuleKMeansPalettizerConfig(
        op_input_spec=None, op_output_spec=None, op_state_spec={"weight": spec, "in_proj_weight": spec}
    )  # fmt: skip


def predicted(model: Any, images: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.concatenate([
            model(torch.from_numpy(images[at : at + _BATCH].copy())).numpy()[:, 0]
            for at in range(0, len(images), _BATCH)
        ])  # fmt: skip


def saved(model: Any, path: Path) -> None:
    """What a reader needs to make the weights again."""
    from torch.nn.utils import parametrize

    parts: dict[str, np.ndarray] = {}
    for name, module in model.named_modules():
        if "parametrizations" in name:
            continue
        here = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        for key, value in here.items():
            parts[f"{name}.{key}"] = value.detach().numpy().astype(np.float16)
        if parametrize.is_parametrized(module):
            for key, chain in module.parametrizations.items():
                palette = chain[0]
                parts[f"{name}.{key}.lut"] = palette.lut.detach().numpy().astype(np.float16)
                parts[f"{name}.{key}.indices"] = packed(palette.indices.detach().numpy(), palette.n_bits)
    with path.open("wb") as file:
        for values in parts.values():
            file.write(values.tobytes())


def packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """Indices below 2^bits in ``bits`` bits each, the lowest first."""
    return np.packbits(
        (indices.reshape(-1, 1).astype(np.uint8) >> np.arange(bits, dtype=np.uint8)) & 1, bitorder="little"
    )  # fmt: skip


def made(given: Given, widths: dict[str, int], said: str) -> Made:
    from coreai_opt.inspection import bits_per_weight

    model = palettized(given, widths)
    logits = predicted(model, given.test())
    average = bits_per_weight(model).bpw
    saved(model, given.out / "palettes.bin")
    left = len(layers(given.module())) - len(widths)
    note = f"{average:.2f} bits a weight by the tool's own count; {left} layers are not palettized"
    return Made(["palettes.bin"], said, "float", "torch", logits, note)


def uniform(given: Given, bits: int) -> Made:
    return made(given, dict.fromkeys(layers(given.module()), bits), f"{bits}-bit palettes")


def mixed(given: Given, average: float) -> Made:
    """The least error that the average width allows each layer."""
    model = given.module()
    sizes = {name: module.weight.numel() for name, module in layers(model).items()}
    images = given.calibration()[:_COMPARED]
    reference = predicted(model, images)
    errors = {}
    for name in sizes:
        for bits in _WIDTHS:
            alone = palettized(given, {name: bits}, calibrated=False)
            errors[name, bits] = float(np.mean((predicted(alone, images) - reference) ** 2))
    chosen = widths_within(errors, sizes, average)
    counts = ", ".join(f"{list(chosen.values()).count(bits)} layers of {bits}" for bits in _WIDTHS)
    return made(given, chosen, f"palettes mixed to {average:g} bits: {counts}")


def widths_within(
    errors: dict[tuple[str, int], float], sizes: dict[str, int], average: float
) -> dict[str, int]:
    """Each layer's least width with at most an error, the least one at which they fit the average."""
    for limit in sorted(errors.values()):
        widths = {
            name: next((bits for bits in _WIDTHS if errors[name, bits] <= limit), max(_WIDTHS))
            for name in sizes
        }  # fmt: skip
        if sum(sizes[name] * bits for name, bits in widths.items()) <= average * sum(sizes.values()):
            return widths
    return dict.fromkeys(sizes, min(_WIDTHS))


PEER = Peer(
    ("coreai-opt", "torchao"),
    {
        **{f"w{bits}": functools.partial(uniform, bits=bits) for bits in (8, 6, 4, 2)},
        "mixed_4": functools.partial(mixed, average=4), "mixed_3": functools.partial(mixed, average=3),
    },
)  # fmt: skip

if __name__ == "__main__":
    serve("coreai", PEER)
