"""``defakeq inspect``: what a detector's quantization would do, or what a run did, as data and as a table."""

from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from brevitas_defakeq.artifact import float_bytes
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.file_agreement import require_agreement
from brevitas_defakeq.float_reference import prepare_float
from brevitas_defakeq.prepare.norm_readers import find_norm_readers
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.prepare.unquantized_outputs import paddings_of_values
from brevitas_defakeq.run_estimate import expected_passes, expected_seconds, expected_size, seconds_per_image
from brevitas_defakeq.run_inputs import require_preprocessing
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, understanding


def inspect_detector(detector: Detector, config: DefakeQConfig) -> dict[str, Any]:
    """Layers, what stays float and why, and the size and time to expect of ``quantize`` with ``config``.

    ``config`` has a budget in bits (``average_bits``).
    """
    if config.average_bits is None:
        raise UserError("inspect estimates sizes from average_bits; give one")
    height, width = require_preprocessing(detector).input_size
    example = torch.zeros(1, 3, height, width)
    require_agreement(detector, torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(0)))
    reference, plan, _ = prepare_float(detector, example, config.keep_float)
    per_image = seconds_per_image(reference, example)
    return {
        "detector": detector.name,
        "input_size": [height, width],
        "layers": _rows(plan, {}, paddings_of_values(reference, (layer.name for layer in plan.layers))),
        "attention": list(plan.attentions),
        "left_float": plan.left_float,
        **({"layernorm": _norms(reference, plan, example)} if config.equalize_layernorm else {}),
        "dropped": dict(detector.dropped),
        "untrained": detector.untrained,
        "blocks": len(plan.blocks),
        "size_bytes": {
            "float": float_bytes(detector.model),
            "expected": expected_size(plan, config.average_bits, reference),
        },
        "average_bits": config.average_bits,
        "expected_passes": round(expected_passes(plan, config, config.samples), 1),
        "expected_seconds": round(expected_seconds(plan, config, config.samples, per_image), 1),
    }


def inspect_run(folder: Path) -> dict[str, Any]:
    """The same for a finished run, with each layer's bit-width and the seconds that its stages took."""
    settings, report = read_json(folder / "config.json"), read_json(folder / "report.json")
    with understanding(folder / "config.json"):
        plan = Plan.from_dict(settings["plan"])
        layers = _rows(plan, settings["bits"], {})
    with understanding(folder / "report.json"):
        return {
            "detector": report["detector"]["name"],
            "input_size": (report["preprocessing"] or {}).get("input_size"),
            "layers": layers,
            "attention": list(plan.attentions),
            "left_float": plan.left_float,
            "dropped": report["detector"].get("dropped") or {},
            "untrained": report["detector"].get("untrained", False),
            "blocks": len(plan.blocks),
            "size_bytes": report["size_bytes"],
            "average_bits": report["average_bits"],
            "seconds": report["seconds"],
            "error_sources": report.get("error_sources", {}),
        }


def _norms(reference: nn.Module, plan: Plan, example: Tensor) -> dict[str, str]:
    """LayerNorm -> the layers that it is equalized with, or why it is not."""
    layers = [layer.name for layer in plan.layers]
    found = find_norm_readers(reference, trace(reference, example.clone()), layers, plan.head)
    equalized = {norm: f"equalized, with {', '.join(readers)}" for norm, readers in found.layers.items()}
    return equalized | {norm: f"not equalized: {reason}" for norm, reason in found.left_alone.items()}


def _rows(plan: Plan, bits: dict[str, float], paddings: dict[str, str]) -> list[dict[str, Any]]:
    """``paddings``: layer -> what it pads with, if not zeros."""
    total = sum(layer.num_params for layer in plan.layers)
    return [
        {
            "name": layer.name,
            "kind": layer.kind,
            "shape": list(layer.weight_shape),
            "weights": layer.num_params,
            "share": layer.num_params / total,
            "macs": layer.macs,
            "bits": bits.get(layer.name),
            "calls": layer.calls,
            "padding": paddings.get(layer.name),
        }
        for layer in plan.layers
    ]


def inspection_table(found: dict[str, Any]) -> Table:
    """Layers, their bit-widths where known, and what stays float."""
    table = Table(title=f"{found['detector']} at {found['input_size']}", caption=_caption(found))
    sources = found.get("error_sources", {})
    numbers = ("weights", "share", "bits", "error: weights", "activations")
    for column in ("layer", "kind", "shape", *(numbers if "weights" in sources else numbers[:3]), "note"):
        table.add_column(column, justify="right" if column in numbers else "left")
    for row in found["layers"]:
        notes = [f"called {row['calls']} times"] if row["calls"] > 1 else []
        notes += [f"{row['padding']} padding: not for FPGAs"] if row["padding"] else []
        bits = "" if row["bits"] is None else f"{row['bits']:g}"
        shape = "x".join(map(str, row["shape"]))
        table.add_row(
            row["name"],
            row["kind"],
            shape,
            f"{row['weights']:,}",
            f"{100 * row['share']:.1f} %",
            bits,
            *_sources(sources, row["name"]),
            "; ".join(notes),
        )
    for name in found["attention"]:
        note = "q, k, v and softmax output quantized"
        table.add_row(name, "attention", "", "", "", "", *_sources(sources, name), note)
    for name, note in found.get("layernorm", {}).items():
        table.add_row(name, "LayerNorm", "", "", "", "", note)
    for name, reason in found["left_float"].items():
        table.add_row(name, "", "", "", "", "float", *_sources(sources, None), reason)
    return table


def _sources(sources: dict[str, Any], name: str | None) -> list[str]:
    """Shares of the logit's squared error that come from a module's weights and activations, in percent."""
    if "weights" not in sources:
        return []
    inside = [share for key, share in sources["activations"].items() if key.rsplit(".", 1)[0] == name]
    return [f"{100 * share:.1f} %" if found else "" for share, found in (
        (sources["weights"].get(name, 0.0), name in sources["weights"]), (sum(inside), inside)
    )]  # fmt: skip


def _caption(found: dict[str, Any]) -> str:
    size = found["size_bytes"]
    expected = size.get("expected", size.get("quantized"))
    ratio = 100 * expected / size["float"]
    text = f"float {size['float'] / 1e6:.2f} MB -> {expected / 1e6:.2f} MB ({ratio:.1f} %)"
    text += f" at {found['average_bits']:.2f} bits on average"
    if "expected_seconds" in found:
        text += f"; about {max(1, round(found['expected_seconds'] / 60))} min on this machine"
    if found["untrained"]:
        text += "; its weights are random, give a checkpoint by --weights"
    if found.get("dropped"):
        kinds = ", ".join(f"{kind} ({count})" for kind, count in found["dropped"].items())
        text += f"; left out of the checkpoint: {kinds}"
    return text
