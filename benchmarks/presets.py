"""Published methods as settings of one harness: each names its paper, and says where it differs from it.

What all of them share here, also where a paper has other values: the calibration images, the number of steps
and their batch (a block gets as many forward passes from each), ranges of weights by MSE, activations of the
layers' inputs and of the attention's products, BatchNorm folded. Losses on the verdict of a one-logit head
take two classes, the logit and 0, for a softmax of one logit is constant. First and last layer have 8 bits,
as in the papers; their bytes are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from brevitas_defakeq.config import DefakeQConfig, without_haq, without_veft

Change = Callable[[DefakeQConfig], DefakeQConfig]


@dataclass(frozen=True)
class Preset:
    """A method.

    Attributes:
        paper: where it comes from.
        change: of the recipe's configuration.
        differs: how it differs from the paper, beyond what all presets share.
        recipe: whose other values it takes.
        ends: first and last layer have 8 bits.
    """

    paper: str
    change: Change
    differs: str = ""
    recipe: str = "best"
    ends: bool = False

    def config(self, **settings: Any) -> DefakeQConfig:
        return self.change(DefakeQConfig.for_recipe(self.recipe, **settings))


def changed(*, top: dict[str, Any] | None = None, **stages: dict[str, Any]) -> Change:
    """A change of fields, as in ``changed(top={"samples": 64}, reconstruction={"rounding": "gptq"})``."""

    def change(config: DefakeQConfig) -> DefakeQConfig:
        parts = {name: replace(getattr(config, name), **fields) for name, fields in stages.items()}
        return replace(config, **(top or {}), **parts)

    return change


def _peer(
    paper: str, *, differs: str = "", top: dict[str, Any] | None = None, **reconstruction: Any
) -> Preset:
    """Uniform widths, nothing of ours before or after the blocks."""
    fields = {"matching": "none", **reconstruction}
    change = changed(top=top, haq={"enabled": False}, reconstruction=fields, final={"steps": 0})
    return Preset(paper, change, differs, ends=True)


_LOG = {"activation_quantizer": "log", "equalize_layernorm": True}

PEERS: dict[str, Preset] = {
    "nearest": _peer("round to nearest, ranges by MSE", rounding="nearest"),
    "GPTQ": _peer("Frantar et al., ICLR 2023", rounding="gptq"),
    "GPTAQ": _peer("Li et al., ICML 2025", rounding="gptaq"),
    "AdaRound": _peer("Nagel et al., ICML 2020", unit="layer", block_input="quantized"),
    "BRECQ": _peer(
        "Li et al., ICLR 2021", block_input="float",
        differs="the form that ViT papers compare with: squared error, inputs of the float model, activation "
        "ranges learned together with the rounding",
    ),
    "QDrop": _peer("Wei et al., ICLR 2022", block_input="mixed", activation_drop=0.5),
    "PD-Quant": _peer(
        "Liu et al., CVPR 2023", block_input="mixed", activation_drop=0.5, loss="prediction-difference",
        differs="no correction of the targets towards BatchNorm's statistics",
    ),
    "RepQ-ViT": _peer(
        "Li et al., ICCV 2023", rounding="nearest", top=_LOG,
        differs="the logarithm's base is searched, not the root of 2",
    ),
    "AdaLog": _peer("Wu et al., ECCV 2024", block_input="float", top=_LOG),
    "FIMA-Q": _peer(
        "Wu et al., CVPR 2025", block_input="mixed", activation_drop=0.5, loss="fisher-low-rank",
        top={"equalize_layernorm": True},
    ),
    "APHQ-ViT": _peer(
        "Wu et al., CVPR 2025", block_input="mixed", activation_drop=0.5, loss="perturbation",
        differs="GELU stays: the paper replaces it by ReLU and tunes the MLP",
    ),
    "joint": Preset(
        "all layers at once from round to nearest, distilled to logit and feature",
        changed(haq={"enabled": False}, reconstruction={"rounding": "nearest"},
                final={"steps": 400, "rounding_lr": 0.01}),
        ends=True,
    ),
}  # fmt: skip


def _best(what: str, *, top: dict[str, Any] | None = None, **stages: dict[str, Any]) -> Preset:
    return Preset(f"our recipe, {what}", changed(top=top, **stages))


OURS: dict[str, Preset] = {
    "paper": Preset("DeFakeQ as printed", lambda config: config, recipe="paper"),
    "paper, no HAQ": Preset("DeFakeQ, uniform widths", without_haq, recipe="paper"),
    "paper, no VEFT": Preset("DeFakeQ without eqs. 9 and 10", without_veft, recipe="paper"),
    "best": Preset("DeFakeQ, our recipe", lambda config: config),
    "best, uniform widths": Preset("our recipe without HAQ", without_haq),
    "best, Taylor": _best("widths by Taylor scores", haq={"sensitivity": "taylor"}),
    "best, measured": _best("widths by measured errors", haq={"sensitivity": "measured"}),
    "best, Fisher": _best("widths by Fisher information", haq={"sensitivity": "fisher"}),
    "best, random widths": _best("widths drawn at random", haq={"sensitivity": "random"}),
    "best, regression": _best("QwT-v2's matching", reconstruction={"matching": "regression"}),
    "best, no last pass": _best("no last pass", final={"steps": 0}),
    "best, activations first": _best("GPLQ's order", reconstruction={"activations_first": True}),
    "best, GPTQ start": _best("GPTQ in place of learned rounding", reconstruction={"rounding": "gptq"}),
    "best, activation drop": _best("QDrop's drop", reconstruction={"activation_drop": 0.5}),
    "best, low-rank Fisher": _best("FIMA-Q's loss", reconstruction={"loss": "fisher-low-rank"}),
    "best, equalized LayerNorm": _best("RepQ-ViT's LayerNorm", top={"equalize_layernorm": True}),
}

PRESETS = PEERS | OURS
