"""Published methods as settings of one harness: each names its paper, and says where it differs from it.

What all of them share here, also where a paper has other values: the calibration images, the number of steps
and their batch (a block gets as many forward passes from each), ranges of weights by MSE, activations of the
layers' inputs and of the attention's products, BatchNorm folded; the learning rate of the rounding is the
better of two, on faces that no table reports. Losses on the verdict of a one-logit head take two classes, the
logit and 0, for a softmax of one logit is constant. First and last layer have 8 bits, as in the papers; their
bytes are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from brevitas_defakeq.config import DefakeQConfig, without_haq, without_veft
from brevitas_defakeq.quant.widths import DEFAULT_CANDIDATE_BITS

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


#: Where it was better than the default .1 (``benchmarks.learning_rates``).
_SLOWER = 0.03
_LOG = {"activation_quantizer": "log", "equalize_layernorm": True}

PEERS: dict[str, Preset] = {
    "nearest": _peer("round to nearest, ranges by MSE", rounding="nearest"),
    "GPTQ": _peer("Frantar et al., ICLR 2023", rounding="gptq"),
    "GPTAQ": _peer("Li et al., ICML 2025", rounding="gptaq"),
    "AdaRound": _peer("Nagel et al., ICML 2020", unit="layer", block_input="quantized"),
    "BRECQ": _peer(
        "Li et al., ICLR 2021", block_input="float", rounding_lr=_SLOWER,
        differs="the form that ViT papers compare with: squared error, inputs of the float model, activation "
        "ranges learned together with the rounding",
    ),
    "QDrop": _peer("Wei et al., ICLR 2022", block_input="mixed", activation_drop=0.5, rounding_lr=_SLOWER),
    "PD-Quant": _peer(
        "Liu et al., CVPR 2023", block_input="mixed", activation_drop=0.5, loss="prediction-difference",
        rounding_lr=_SLOWER,
        differs="no correction of the targets towards BatchNorm's statistics",
    ),
    "RepQ-ViT": _peer(
        "Li et al., ICCV 2023", rounding="nearest", top=_LOG,
        differs="the logarithm's base is searched, not the root of 2",
    ),
    "AdaLog": _peer("Wu et al., ECCV 2024", block_input="float", top=_LOG),
    "FIMA-Q": _peer(
        "Wu et al., CVPR 2025", block_input="mixed", activation_drop=0.5, loss="fisher-low-rank",
        rounding_lr=_SLOWER, top={"equalize_layernorm": True},
    ),
    "APHQ-ViT": _peer(
        "Wu et al., CVPR 2025", block_input="mixed", activation_drop=0.5, loss="perturbation",
        rounding_lr=_SLOWER,
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


def _veft(what: str, **fields: Any) -> Preset:
    """VEFT in the blocks of our recipe, and nothing after them that could wash it out."""
    veft = {"enabled": True, "contrastive_weight": 0.05, **fields}
    return Preset(f"our recipe with VEFT, {what}", changed(veft=veft, final={"steps": 0}))


#: What every comparison holds: our recipe, the paper's, the ablations of the paper's.
MAIN: dict[str, Preset] = {
    "best": Preset("DeFakeQ, our recipe", lambda config: config),
    "paper": Preset("DeFakeQ as printed", lambda config: config, recipe="paper"),
    "paper, no HAQ": Preset("DeFakeQ, uniform widths", without_haq, recipe="paper"),
    "paper, no VEFT": Preset("DeFakeQ without eqs. 9 and 10", without_veft, recipe="paper"),
    "paper, joint": Preset(
        "DeFakeQ, eq. 10 with widths learned beside the blocks",
        changed(reconstruction={"joint": True}), recipe="paper",
    ),
}  # fmt: skip

#: Where our widths come from.
ALLOCATIONS: dict[str, Preset] = {
    "best, uniform widths": Preset("our recipe without HAQ", without_haq),
    "best, E(b) = 2^-b": _best("the paper's E(b)", haq={"error_base": 2.0}),
    "best, Taylor": _best("widths by Taylor scores", haq={"sensitivity": "taylor"}),
    "best, measured": _best("widths by measured errors", haq={"sensitivity": "measured"}),
    "best, Fisher": _best("widths by Fisher information", haq={"sensitivity": "fisher"}),
    "best, random widths": _best("widths drawn at random", haq={"sensitivity": "random"}),
    "best, three levels too": _best(
        "1.6 bits among the widths", top={"candidate_bits": (1.6, *DEFAULT_CANDIDATE_BITS)}
    ),
}

#: Our recipe with one part left out, or put another way.
PARTS: dict[str, Preset] = {
    "best, no matching": _best("no matching", reconstruction={"matching": "none"}),
    "best, regression": _best("QwT-v2's matching", reconstruction={"matching": "regression"}),
    "best, nearest": _best("no learned rounding", reconstruction={"rounding": "nearest"}),
    "best, GPTQ": _best("GPTQ in place of learned rounding", reconstruction={"rounding": "gptq"}),
    "best, quantized inputs": _best(
        "blocks fitted behind the quantized prefix", reconstruction={"block_input": "quantized"}
    ),
    "best, activations first": _best("GPLQ's order", reconstruction={"activations_first": True}),
    "best, activation drop": _best("QDrop's drop", reconstruction={"activation_drop": 0.5}),
    "best, low-rank Fisher": _best("FIMA-Q's loss", reconstruction={"loss": "fisher-low-rank"}),
    "best, equalized LayerNorm": _best("RepQ-ViT's LayerNorm", top={"equalize_layernorm": True}),
    "best, no last pass": _best("no last pass", final={"steps": 0}),
    "best, no mirrored images": _best("no mirrored images in the last pass", final={"mirror": False}),
    "best, codes in the last pass": _best("codes learned in the last pass", final={"rounding_lr": 0.01}),
    "best, eq. 9 in the last pass": _best("eq. 9 in the last pass", final={"loss": "contrastive"}),
}

#: Forms of VEFT; "best, no last pass" differs by VEFT alone.
VEFT: dict[str, Preset] = {
    "VEFT": _veft("a tenth of the paper's weight for eq. 9"),
    "VEFT, gamma2 = .5": _veft("the paper's weight for eq. 9", contrastive_weight=0.5),
    "VEFT, tau = .07": _veft("a sharper eq. 9", temperature=0.07),
    "VEFT, masks only": _veft("no eq. 9", contrastive_weight=0.0),
    "VEFT, alignment only": _veft("no float channels", fraction=0.0),
    "VEFT, fixed channels": _veft("the channels of the largest error", masks="fixed"),
    "VEFT, 25 % of the channels": _veft("a quarter of the channels", fraction=0.25),
    "VEFT, detector's feature": _veft("eq. 9 behind the rest of the network", alignment="detector"),
    "VEFT, negatives of M_q": _veft("negatives of the quantized model", negatives="quantized"),
    "VEFT, any negatives": _veft("negatives of both classes", negatives_by_label=False),
}

OURS = MAIN | ALLOCATIONS | PARTS | VEFT
PRESETS = PEERS | OURS
