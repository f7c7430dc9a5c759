"""Every setting of a run and its default: one frozen dataclass a stage, checked when made, JSON both ways.

``DefakeQConfig.for_recipe("paper")`` takes the paper's values; ``"best"`` (the default) takes those that
gave the best detectors at equal bytes and bounded time. ``_PAPER`` lists where the two differ.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from brevitas_defakeq.config_values import check_values, in_todays_form
from brevitas_defakeq.quant.widths import DEFAULT_CANDIDATE_BITS, WIDTHS
from brevitas_defakeq.utils.errors import UserError

#: Budget in bits a weight where no other is given.
DEFAULT_AVERAGE_BITS = 3.0
#: Calibration images: unless others are asked for, and at least.
DEFAULT_SAMPLES, MINIMUM_SAMPLES = 256, 8
#: Memory for captured activations, in bytes.
DEFAULT_CACHE_BYTES = 2 << 30
#: Folder of cropped faces.
DEFAULT_CROPS_CACHE = Path("crops")
#: Images of one forward pass without gradients.
FORWARD_BATCH = 16

Sensitivity = Literal["haq", "taylor", "measured", "fisher", "random"]
Matching = Literal["moments", "regression", "none"]
Rounding = Literal["nearest", "learned", "gptq", "gptaq"]
Unit = Literal["block", "layer"]
ReconstructionLoss = Literal["mse", "fisher", "fisher-low-rank", "perturbation", "prediction-difference"]
_Config = TypeVar("_Config")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _choose(field_name: str, value: object, *choices: object) -> None:
    _require(value in choices, f"{field_name}={value!r}: choose one of {', '.join(map(str, choices))}")


def _require_width(source: str, bits: float) -> None:
    known = ", ".join(f"{width:g}" for width in WIDTHS)
    _require(bits in WIDTHS, f"{source}: {bits} is not one of {known}; drop it, or register it in Python")


@dataclass(frozen=True, kw_only=True)
class HAQConfig:
    """Which layer gets which width (eqs. 2-6)."""

    #: False = every layer the largest candidate at or below the average (the ablation "no HAQ").
    enabled: bool = True
    #: The score: the paper's S_l, first-order Taylor of the output, the measured output error, the diagonal
    #: Fisher information, or widths drawn at random by ``seed``.
    sensitivity: Sensitivity = "haq"
    #: E(b) = error_base^-b. Measured errors fall by 4 a bit; the paper writes 2.
    error_base: float = 4.0
    #: lambda of eq. 6.
    penalty: float = 1.0
    #: Steps of the relaxed optimization, which converges much earlier.
    relaxed_steps: int = 400
    #: Adam on the relaxed widths in bits, decayed to a hundredth.
    relaxed_lr: float = 0.1
    #: Layer name -> fixed width; counted in the budget.
    pinned: dict[str, float] = field(default_factory=dict)
    #: Images for "taylor", "measured" and "fisher".
    sensitivity_images: int = 32

    def __post_init__(self) -> None:
        for name, bits in self.pinned.items():
            _require_width(f"pinned {name}", bits)
        _choose("sensitivity", self.sensitivity, *get_args(Sensitivity))
        _require(self.sensitivity_images >= 1, "sensitivity_images: at least 1 is needed")
        _require(self.error_base > 1, f"error_base={self.error_base}: must exceed 1")


@dataclass(frozen=True, kw_only=True)
class VEFTConfig:
    """Random float channels and contrastive alignment during reconstruction (eqs. 9-10)."""

    #: False = the ablation "no VEFT".
    enabled: bool = False
    #: Share of a layer's output channels restored to float.
    fraction: float = 0.1
    #: "random": a fresh mask a step (augmentation). "fixed": the channels with the largest error.
    masks: Literal["random", "fixed"] = "random"
    #: gamma_2 of eq. 10.
    contrastive_weight: float = 0.5
    #: tau of eq. 9. At 0.07 the pull outweighed the reconstruction in 2-bit blocks.
    temperature: float = 0.5
    #: What eq. 9's negatives are: M_f's features of other images (constants), or M_q's own.
    negatives: Literal["float", "quantized"] = "float"
    #: Only images of the other class are negatives, where labels are given.
    negatives_by_label: bool = True
    #: Features compared: pooled block output, or what the head reads (runs the rest of the network).
    alignment: Literal["block", "detector"] = "block"

    def __post_init__(self) -> None:
        _require(0 <= self.fraction < 1, f"fraction={self.fraction}: must lie in [0, 1)")
        _require(self.temperature > 0, f"temperature={self.temperature}: must be positive")
        _require(self.contrastive_weight >= 0, "contrastive_weight must not be negative")
        _choose("masks", self.masks, "random", "fixed")
        _choose("negatives", self.negatives, "float", "quantized")
        _choose("alignment", self.alignment, "block", "detector")


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Matching and learned rounding, block by block (eqs. 7-8)."""

    #: Every layer's output matched to the float model's, per channel, at no cost in bytes: in mean and spread
    #: ("moments"), or by least squares on pairs of values ("regression", QwT-v2, arXiv 2505.20932).
    matching: Matching = "moments"
    #: "nearest"; "learned" with the whole block (AdaRound); or layer by layer in closed form behind the
    #: quantized prefix: "gptq" (arXiv 2210.17323), "gptaq" towards the outputs on float inputs (2504.02692).
    rounding: Rounding = "learned"
    #: Before that, as many steps with the block's weights in float, on ranges, biases and norms (GPLQ).
    activations_first: bool = False
    #: The error of a block's output: squared; weighted by the Fisher information of the verdict, diagonal
    #: (BRECQ) or also of low rank (FIMA-Q), or by a perturbation's Hessian (APHQ-ViT); or squared, plus the
    #: change of the verdict behind the rest of the network (PD-Quant: it runs in every step).
    loss: ReconstructionLoss = "mse"
    #: Steps a block.
    iterations: int = 400
    batch_size: int = 8
    #: Adam on V, not decayed: a V that changes sides travels about 5.
    rounding_lr: float = 0.1
    #: Adam on scales (relative), biases (in units of the output's spread) and activation ranges.
    scale_lr: float = 2e-3
    #: alpha of eq. 7. Our reading of its units: L_rec relative to the target's variance, R per square root
    #: of the number of weights; with both as means half of the V stayed undecided.
    rounding_weight: float = 1.0
    #: lambda of the rate term, for "learned": the error, relative to the target's variance, that one bit a
    #: weight of the entropy-coded file is worth, in a block of average size. 0: bits are not counted.
    rate: float = 0.0
    #: Share of the steps before R is switched on.
    warm_up: float = 0.2
    #: beta of R, annealed from the first to the second.
    beta: tuple[float, float] = (8.0, 2.0)
    #: Input of a block: the quantized prefix's output, the float prefix's, or a mix of both per element.
    block_input: Literal["quantized", "float", "mixed"] = "mixed"
    #: Chance of each value in a block to pass its activation quantizer in float, in every step (QDrop: 0.5).
    activation_drop: float = 0.0
    #: What is reconstructed at once: a block, or every layer by itself. Quantizers outside of layers (the
    #: operands of attention products) keep their calibrated ranges then.
    unit: Unit = "block"
    #: Images whose outputs are matched (fewer when they would not fit in memory).
    matching_images: int = 128
    #: gamma_1 of eq. 10, used where widths are learned together with the blocks.
    horizontal_weight: float = 0.5
    #: Eq. 10 as printed: widths learned block by block under all three losses, then snapped, and the
    #: rounding learned afresh at the snapped widths (learned for one width it is wrong for another).
    joint: bool = False
    #: Adam on the widths in bits, with ``joint``.
    width_lr: float = 0.05

    def __post_init__(self) -> None:
        _require(self.iterations >= 0, f"iterations={self.iterations}: must not be negative")
        _require(self.batch_size >= 1, f"batch_size={self.batch_size}: must be at least 1")
        _require(0 <= self.warm_up < 1, f"warm_up={self.warm_up}: must lie in [0, 1)")
        _require(0 <= self.rate < float("inf"), f"rate={self.rate}: must be a finite number, not below 0")
        _require(
            self.rate == 0 or self.rounding == "learned",
            f'rate={self.rate}: goes with rounding="learned", not {self.rounding!r}; leave one of them out',
        )
        _choose("matching", self.matching, *get_args(Matching))
        _choose("rounding", self.rounding, *get_args(Rounding))
        _choose("unit", self.unit, *get_args(Unit))
        drop = self.activation_drop
        _require(0 <= drop <= 1, f"activation_drop={drop}: must lie in [0, 1]")
        _choose("loss", self.loss, *get_args(ReconstructionLoss))
        _choose("block_input", self.block_input, "quantized", "float", "mixed")


@dataclass(frozen=True, kw_only=True)
class FinalPassConfig:
    """The last, label-free pass over the whole network: scales, biases, norms and ranges."""

    steps: int = 100
    batch_size: int = 16
    #: Adam on scales, biases, norms and ranges, relative to their size.
    lr: float = 5e-4
    #: Share of the steps in which the rates rise: Adam's first steps are long, and its estimates poor.
    warm_up: float = 0.2
    #: Adam on the weights, in steps of their grid, rounded straight through; 0 keeps the codes, which is
    #: better after learned rounding.
    rounding_lr: float = 0.0
    #: Mirrored images too: twice the examples, and a mirrored face is as real as it was.
    mirror: bool = True
    #: "mse" to the float model's output and feature, or eq. 9 on the feature beside the output's error.
    loss: Literal["mse", "contrastive"] = "mse"

    def __post_init__(self) -> None:
        _require(self.steps >= 0, f"final-pass steps={self.steps}: must not be negative")
        _require(self.batch_size >= 1, f"final-pass batch_size={self.batch_size}: must be at least 1")
        _require(0 <= self.warm_up < 1, f"final-pass warm_up={self.warm_up}: must lie in [0, 1)")
        _choose("final-pass loss", self.loss, "mse", "contrastive")


@dataclass(frozen=True, kw_only=True)
class DefakeQConfig:
    """Settings of one run. Counts are in images, widths in bits.

    >>> DefakeQConfig.for_recipe("paper", average_bits=4).haq.error_base
    2.0
    """

    #: Budget: bits a weight. None is 3, or no bound where ``budget`` names others.
    average_bits: float | None = None
    #: Budget of a chip, alone or beside ``average_bits``: "lut", "bram" (of 18 kbit), "dsp" or "cycles" a
    #: frame -> limit, by the costs given to ``quantize``.
    budget: dict[str, float] = field(default_factory=dict)
    candidate_bits: tuple[float, ...] = DEFAULT_CANDIDATE_BITS
    #: Width of every activation; None leaves them in float.
    activation_bits: int | None = 8
    #: "log": on a logarithmic scale where they come from a softmax or a GELU, what no exported file can hold
    #: (AdaLog, ECCV 2024); the others stay uniform.
    activation_quantizer: Literal["uniform", "log"] = "uniform"
    #: Behind a LayerNorm that only linear layers read, all channels get the range of one, and the layers'
    #: weights take it back (RepQ-ViT, ICCV 2023).
    equalize_layernorm: bool = False
    recipe: Literal["best", "paper"] = "best"
    #: "any": asymmetric, as in the paper. "mobile": for the integer kernels of phones and browsers, 7 bits in
    #: place of 8. "fpga": for FINN, symmetric integers of 2 to 8 bits everywhere.
    target: Literal["any", "mobile", "fpga"] = "any"
    #: Calibration images used.
    samples: int = DEFAULT_SAMPLES
    #: Share of them that is kept out of the optimization and used to check it.
    held_out: float = 0.2
    seed: int = 0
    #: Modules that stay float, by name or pattern: ("srm", "stem.*"). Not counted in the budget.
    keep_float: tuple[str, ...] = ()
    #: Width of M_q^v's restored channels, 8 or 32 (float); always 16 with ``target="fpga"``.
    mixed_channel_bits: int = 8
    haq: HAQConfig = field(default_factory=HAQConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    veft: VEFTConfig = field(default_factory=VEFTConfig)
    final: FinalPassConfig = field(default_factory=FinalPassConfig)

    def __post_init__(self) -> None:
        mobile, given = self.target == "mobile", self.candidate_bits
        _require(not isinstance(given, int | float | str), f"candidate_bits={given!r}: give a tuple")
        widths = tuple(sorted({min(bits, 7) if mobile else bits for bits in self.candidate_bits}))
        object.__setattr__(self, "candidate_bits", widths)
        for bits in widths:
            _require_width(f"candidate_bits={widths}", bits)
        examples = ",".join(map(str, DEFAULT_CANDIDATE_BITS))
        _require(bool(widths), f"candidate_bits is empty; give widths such as {examples}")
        self._check_budgets()
        kept = self.keep_float
        _require(not isinstance(kept, str), f"keep_float={kept!r}: give a tuple of names, ({kept!r},)")
        object.__setattr__(self, "keep_float", tuple(kept))
        act = self.activation_bits
        _require(act is None or 2 <= act <= 16, f"activation_bits={act}: must be 2 to 16, or none")
        _choose("recipe", self.recipe, "best", "paper")
        _choose("target", self.target, "any", "mobile", "fpga")
        self._check_activations()
        _require(self.seed >= 0, f"seed={self.seed}: must not be negative")
        _require(
            self.samples >= MINIMUM_SAMPLES,
            f"samples={self.samples}: at least {MINIMUM_SAMPLES} calibration images are needed",
        )
        _require(0 < self.held_out < 1, f"held_out={self.held_out}: must lie between 0 and 1")
        if self.target == "fpga":
            self._fit_fpga()
        else:
            _choose("mixed_channel_bits", self.mixed_channel_bits, 8, 32)

    def _fit_fpga(self) -> None:
        """Refuse what FINN cannot map; restored channels of 8 bits become 16."""
        for bits in self.candidate_bits:
            _require(
                2 <= bits == int(bits),
                f'candidate_bits={self.candidate_bits}: target="fpga" takes whole widths from 2 to 8; '
                f"drop {bits}",
            )
        _require(
            self.activation_bits is not None and self.activation_bits <= 8,
            f'activation_bits={self.activation_bits}: target="fpga" takes 2 to 8 (thresholds of '
            "more bits do not fit); lower it",
        )
        _require(
            not self.keep_float,
            f'keep_float={",".join(self.keep_float)}: target="fpga" has no float layers; leave one out',
        )
        _require(
            self.mixed_channel_bits in (8, 16),
            f'mixed_channel_bits={self.mixed_channel_bits}: target="fpga" has no float; leave it out',
        )
        object.__setattr__(self, "mixed_channel_bits", 16)

    def _check_activations(self) -> None:
        _choose("activation_quantizer", self.activation_quantizer, "uniform", "log")
        if self.activation_quantizer == "log":
            _require(
                self.target == "any",
                f'activation_quantizer="log": target="{self.target}" has uniform activations alone; '
                "leave one of them out",
            )
            _require(
                self.activation_bits is not None and self.activation_bits <= 8,
                f'activation_bits={self.activation_bits}: activation_quantizer="log" takes 2 to 8',
            )

        given = {
            "equalize_layernorm": self.equalize_layernorm,
            "activations_first": self.reconstruction.activations_first,
        }
        for name, on in given.items():
            _require(
                self.activation_bits is not None or not on,
                f"{name}=True is for quantized activations; give activation_bits, or leave it out",
            )

    def _check_budgets(self) -> None:
        if self.average_bits is None and not self.budget:
            object.__setattr__(self, "average_bits", DEFAULT_AVERAGE_BITS)
        average, smallest = self.average_bits, self.candidate_bits[0]
        least = min(bits for bits in WIDTHS if self.target != "fpga" or 2 <= bits == int(bits))
        if average is not None:
            _require(
                average >= smallest,
                f"average_bits={average} lies below the smallest candidate {smallest}; "
                f"raise it to {smallest} or more, or add a smaller candidate ({least} is the smallest)",
            )
            _require(average < float("inf"), f"average_bits={average}: must be finite")
        for resource, limit in self.budget.items():
            _choose("budget", resource, "lut", "bram", "dsp", "cycles")
            _require(
                0 <= limit < float("inf"), f"budget {resource}={limit}: must be a finite number, not below 0"
            )
        _require(
            not (self.budget and self.reconstruction.joint),
            "joint=True learns widths under average_bits alone; leave the other budgets out",
        )

    @classmethod
    def for_recipe(cls, recipe: str = "best", **changes: Any) -> "DefakeQConfig":
        """A recipe's values with top-level fields changed."""
        _choose("recipe", recipe, "best", "paper")
        base: dict[str, Any] = {"recipe": recipe, **(_PAPER if recipe == "paper" else {})}
        return cls(**{**base, **changes})

    @property
    def average_limit(self) -> float:
        """``average_bits``; infinite with a chip's budget alone."""
        return float("inf") if self.average_bits is None else self.average_bits

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "DefakeQConfig":
        """Inverse of ``to_dict``. Raises UserError that names an unknown field or a value of a wrong kind."""
        data = in_todays_form(data)
        check_values(cls, data, cls)
        stages: dict[str, type] = {
            "haq": HAQConfig,
            "reconstruction": ReconstructionConfig,
            "veft": VEFTConfig,
            "final": FinalPassConfig,
        }
        values = {key: _build(stages[key], value) if key in stages else value for key, value in data.items()}
        return _build(cls, values)


def _build(cls: type[_Config], values: dict[str, Any]) -> _Config:
    check_values(cls, values, DefakeQConfig)
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def without_veft(config: DefakeQConfig) -> DefakeQConfig:
    """The ablation: the same run without VEFT."""
    return replace(config, veft=replace(config.veft, enabled=False))


def without_haq(config: DefakeQConfig) -> DefakeQConfig:
    """The ablation: the same run at a uniform width."""
    return replace(config, haq=replace(config.haq, enabled=False))


#: Changes of ``paper``: the paper's values where it gives them, METHOD's decisions where it does not.
_PAPER: dict[str, Any] = {
    "haq": HAQConfig(error_base=2.0),
    "reconstruction": ReconstructionConfig(matching="none", block_input="quantized"),
    "veft": VEFTConfig(enabled=True),
    "final": FinalPassConfig(steps=0),
}
