"""What the benchmarks compare: each name is a recipe with something changed."""

from benchmarks.presets import Change, changed
from brevitas_defakeq.config import DefakeQConfig, without_haq, without_veft


def veft(**changes) -> Change:
    """VEFT in blocks, and nothing after them that could wash it out."""

    def change(config: DefakeQConfig) -> DefakeQConfig:
        return changed(veft={"enabled": True, **changes})(NO_FINAL(config))

    return change


def same(config: DefakeQConfig) -> DefakeQConfig:
    return config


NO_FINAL = changed(final={"steps": 0})
#: What every comparison holds: our recipe, the paper's, the ablations of the paper's.
MAIN = {
    "best": ("best", same),
    "paper": ("paper", same),
    "no_haq": ("paper", without_haq),
    "no_veft": ("paper", without_veft),
}
#: ``best`` with one part taken out or put another way.
PARTS = {
    "best, no HAQ": ("best", without_haq),
    "best, E = 2^-b": ("best", changed(haq={"error_base": 2.0})),
    "best, measured costs": ("best", changed(haq={"sensitivity": "measured"})),
    "best, Taylor costs": ("best", changed(haq={"sensitivity": "taylor"})),
    "best, no matching": ("best", changed(reconstruction={"matching": "none"})),
    "best, nearest in blocks": ("best", changed(reconstruction={"rounding": "nearest"})),
    "best, quantized inputs": ("best", changed(reconstruction={"block_input": "quantized"})),
    "best, no last pass": ("best", NO_FINAL),
    "best, codes learned in last pass": ("best", changed(final={"rounding_lr": 0.01})),
    "best, no mirror images": ("best", changed(final={"mirror": False})),
    "best, eq. 9 in last pass": ("best", changed(final={"loss": "contrastive"})),
}
#: Forms of VEFT, judged against "best, no last pass", which differs by VEFT alone.
VEFT = {
    "VEFT gamma2 .5": ("best", veft()),
    "VEFT gamma2 .05": ("best", veft(contrastive_weight=0.05)),
    "VEFT masks only": ("best", veft(contrastive_weight=0.0)),
    "VEFT alignment only": ("best", veft(contrastive_weight=0.05, fraction=0.0)),
    "VEFT tau .07": ("best", veft(temperature=0.07, contrastive_weight=0.05)),
    "VEFT M_q negatives": ("best", veft(contrastive_weight=0.05, negatives="quantized")),
    "VEFT any negatives": ("best", veft(contrastive_weight=0.05, negatives_by_label=False)),
    "VEFT detector's feature": ("best", veft(contrastive_weight=0.05, alignment="detector")),
    "VEFT fixed masks": ("best", veft(contrastive_weight=0.05, masks="fixed")),
    "VEFT 25 % of the channels": ("best", veft(contrastive_weight=0.05, fraction=0.25)),
}
METHODS: dict[str, tuple[str, Change]] = MAIN | PARTS | VEFT


def configuration(method: str, **settings) -> DefakeQConfig:
    """The method's recipe and its change, at the given top-level settings."""
    recipe, change = METHODS[method]
    return change(DefakeQConfig.for_recipe(recipe, **settings))
