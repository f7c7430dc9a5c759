"""What a table compares: detectors, data sets, methods. The float detector is always one, and the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.evaluation.conventions import convention_named
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.variants import QUANTIZED_VARIANTS

TABLE_METHODS = ("float", "round_to_nearest", "defakeq")
_SELECTION = {item.name for item in fields(Selection)} - {"split"}
DETECTOR_OPTIONS = (
    "model_args", "input_size", "interpolation", "mean", "std", "output", "fake_index", "real_index",
    "feature", "ignore_keys",
)  # fmt: skip


@dataclass(frozen=True)
class DetectorRow:
    """A detector: registry name, timm name or ``module:factory``; its weights; options of ``resolve``."""

    name: str
    weights: str | None = None
    label: str = ""  #: in the tables; by default the name
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [key for key in self.options if key not in DETECTOR_OPTIONS]
        if unknown:
            raise UserError(
                f"detector {self.name}: option {unknown[0]} is not one of {', '.join(DETECTOR_OPTIONS)}"
            )
        object.__setattr__(self, "label", self.label or self.name)


@dataclass(frozen=True)
class Method:
    """What is done to a detector. ``bits`` a weight; a whole number of them where all are rounded alike.

    ``form``: the variant, "quantized" (M_q) or "mixed" (M_q^v); named as in the TOML file.
    ``settings``: fields of DefakeQConfig for this method.
    """

    method: str
    bits: float | None = None
    recipe: str = "best"
    form: str = "quantized"
    label: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in TABLE_METHODS:
            raise UserError(f"method={self.method!r}: choose one of {', '.join(TABLE_METHODS)}")
        if self.form not in QUANTIZED_VARIANTS:
            raise UserError(f"form={self.form!r}: choose quantized or mixed")
        if (self.bits is None) != (self.method == "float"):
            raise UserError(
                f"method {self.method}: " + ("give bits" if self.bits is None else "it has no bits")
            )
        object.__setattr__(self, "label", self.label or self._named())

    def _named(self) -> str:
        if self.method == "float":
            return "float"
        words = {"round_to_nearest": "nearest", "defakeq": "DeFakeQ"}
        name = f"{words[self.method]} {self.bits:g} bits"
        name += f", {self.recipe}" * (self.recipe != "best")
        return name + ", restored" * (self.form == "mixed")


@dataclass(frozen=True)
class TableSpec:
    """A table. ``datasets``: name -> labelled data; ``settings``: fields of DefakeQConfig for every run.

    ``selection``: fields of Selection but the split, for all data: calibration takes train, metrics test.
    """

    detectors: tuple[DetectorRow, ...]
    datasets: Mapping[str, str]
    methods: tuple[Method, ...]
    calibration: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    convention: str = "default"

    def __post_init__(self) -> None:
        unknown = set(self.selection) - _SELECTION
        if unknown:
            allowed = ", ".join(sorted(_SELECTION))
            raise UserError(f"selection has no {sorted(unknown)[0]!r}; it may hold {allowed}")
        for name in ("detectors", "datasets", "methods"):
            if not getattr(self, name):
                raise UserError(f"the table has no {name}; give one or more")
        convention_named(self.convention)
        others = [method for method in self.methods if method.method != "float"]
        floats = [method for method in self.methods if method.method == "float"]
        object.__setattr__(self, "methods", (*(floats or [Method("float")])[:1], *others))
        for what, names in (
            ("detectors", [row.label for row in self.detectors]),
            ("methods", [method.label for method in self.methods]),
        ):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise UserError(f"two {what} are called {twice[0]!r}; give each a label of its own")
        for method in self.methods:
            self.config(method)

    def test_data(self, dataset: str) -> Listing:
        """The labelled samples of one of the data sets."""
        return read_source(self.datasets[dataset], Selection(split="test", **self.selection))

    def calibration_data(self) -> Listing:
        """The samples to calibrate on."""
        return read_source(self.calibration, Selection(split="train", **self.selection))

    def config(self, method: Method) -> DefakeQConfig:
        """The settings of one method's run. UserError for fields or values that there are not."""
        base = DefakeQConfig.for_recipe(method.recipe).to_dict()
        values = _merged(_merged(base, self.settings), method.settings)
        values["activation_bits"] = values["activation_bits"] or None  # TOML has no null
        if method.bits is not None:
            values["average_bits"] = method.bits
        try:
            return DefakeQConfig.from_dict(values)
        except TypeError as error:
            raise UserError(f"settings of {method.label}: a value is of the wrong kind ({error})") from None


def _merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` on top of ``base``, stage by stage."""
    merged = dict(base)
    for key, value in given.items():
        if isinstance(base.get(key), Mapping) != isinstance(value, Mapping):
            raise UserError(f"settings: {key} is " + ("a table of its own" if key in base else "not known"))
        merged[key] = {**base[key], **value} if isinstance(value, Mapping) else value
    return merged
