"""``model_card.json``, beside every exported model: what the device and its user need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from brevitas_defakeq.imaging.crop import CROP_KINDS
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime.flips import Flips
from brevitas_defakeq.runtime.json_records import (
    is_count,
    is_number,
    is_text,
    plain,
    record,
    require,
    require_each,
)
from brevitas_defakeq.runtime.onnx_file import is_version
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, write_json

CARD_VERSION = 1
CARD_NAME = "model_card.json"
LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "float16", "uint8")
OUTPUT_KINDS = ("logit", "softmax", "probability")


@dataclass(frozen=True, kw_only=True)
class CardInput:
    """What the file takes.

    ``dtype`` "float32" (or "float16") takes the crop resized and normalised; "uint8" takes raw RGB pixels,
    and the graph does both. ``size`` (height, width in pixels), ``mean``, ``std`` (scale 0..1),
    ``interpolation`` and ``fit`` say how, in both cases (``imaging.preprocessing.Preprocessing``).
    ``crop`` and ``crop_margin``: how faces were cut out in training (``imaging.crop.Crop``); None if unknown.
    ``batch``: the one number of images that the file takes at once, left out of the card where it takes any.
    """

    size: tuple[int, int]
    layout: str
    dtype: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    fit: str
    crop: str | None
    crop_margin: float | None
    batch: int | None = None

    def __post_init__(self) -> None:
        require(self.layout in LAYOUTS, "input.layout", self.layout, " or ".join(LAYOUTS))
        require(self.dtype in DTYPES, "input.dtype", self.dtype, " or ".join(DTYPES))
        kinds = f"{', '.join(CROP_KINDS)}, or null"
        require(self.crop is None or self.crop in CROP_KINDS, "input.crop", self.crop, kinds)
        margin = self.crop_margin
        allowed = "a number from 0 on, or null"
        require(margin is None or (is_number(margin) and margin >= 0), "input.crop_margin", margin, allowed)
        require(self.batch is None or is_count(self.batch), "input.batch", self.batch, "a whole number")
        for name, length in (("size", 2), ("mean", 3), ("std", 3)):
            value = getattr(self, name)
            fits = isinstance(value, list | tuple) and len(value) == length
            require(fits, f"input.{name}", value, f"a list of {length} numbers")
        checked = self.preprocessing  # raises for the rest
        object.__setattr__(self, "size", checked.input_size)
        object.__setattr__(self, "mean", checked.mean)
        object.__setattr__(self, "std", checked.std)

    @property
    def preprocessing(self) -> Preprocessing:
        """The same values as training uses them."""
        return Preprocessing(self.size, self.interpolation, self.mean, self.std, self.fit)


@dataclass(frozen=True, kw_only=True)
class CardOutput:
    """What the file's first output is.

    ``kind``: "logit" is one score an image, [N] or [N, 1]; "softmax" class scores before their softmax,
    [N, C]; "probability" P(fake), [N] or [N, 1], or class probabilities, [N, C]. ``fake_index``: the class
    that means fake; with one score, 0: a high score means real. ``real_index``: the class that means real,
    where all others mean fake; takes the place of ``fake_index``, and is left out of the file where None.
    """

    kind: str
    fake_index: int
    real_index: int | None = None

    def __post_init__(self) -> None:
        require(self.kind in OUTPUT_KINDS, "output.kind", self.kind, f"one of {', '.join(OUTPUT_KINDS)}")
        require(is_count(self.fake_index), "output.fake_index", self.fake_index, "a class number from 0 on")
        counts = self.real_index is None or is_count(self.real_index)
        require(counts, "output.real_index", self.real_index, "a class number from 0 on, or null")

    @property
    def named_class(self) -> tuple[int, bool]:
        """The class that is named, and whether it means fake."""
        return (self.fake_index, True) if self.real_index is None else (self.real_index, False)


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card. Raises UserError for wrong values.

    Attributes:
        name: the detector's name.
        threshold: an image is called fake if its logit is above it.
        format: name of the export format, as "onnx" or "litert".
        runtime: for "onnx" the oldest onnxruntime that runs the file, as in "1.18"; else the version of the
            runtime (for Core ML: iOS) that the file was written for.
        bits: layer -> bit-width (1.6 for three levels).
        bytes: kind of content -> bytes in the file; "file" is the whole file, "model.onnx.gz" the one that is
            sent instead and holds it.
        patterns: operator pattern -> how often the file holds it.
        auc: the variant's metrics in the run's report, or None. Its ``fidelity`` has ``flips`` and
            ``largest_probability_change`` against the float detector; files of earlier versions have neither.
        licence: of the source weights, as the user gave it, or None.
        provenance: seed, versions, data hash.
    """

    format_version: int = CARD_VERSION
    name: str
    format: str = "onnx"
    input: CardInput
    output: CardOutput
    threshold: float
    runtime: str
    bits: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    patterns: dict[str, int] = field(default_factory=dict)
    auc: dict[str, Any] | None = None
    licence: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        require(is_text(self.name), "name", self.name, "a word or more")
        require(is_text(self.format), "format", self.format, "the name of an export format")
        require(is_number(self.threshold), "threshold", self.threshold, "a number, on the logit")
        require(is_version(self.runtime), "runtime", self.runtime, 'a version, as in "1.18"')
        require_each(lambda width: is_number(width) and width > 0, "bits", self.bits, "a width above 0")
        require_each(is_count, "bytes", self.bytes, "a whole number from 0 on")
        require_each(is_count, "patterns", self.patterns, "a whole number from 0 on")
        require(self.auc is None or isinstance(self.auc, dict), "auc", self.auc, "a JSON object or null")
        _check_fidelity((self.auc or {}).get("fidelity", {}))
        require(self.licence is None or is_text(self.licence), "licence", self.licence, "text or null")
        require(isinstance(self.provenance, dict), "provenance", self.provenance, "a JSON object")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Card:
        """The card from a parsed JSON object that has every field; the inverse of `to_json`."""
        if isinstance(content, Mapping) and "format_version" in content:
            _check_version(content["format_version"])  # first: a later format may have other fields
            kinds: dict[str, type] = {"input": CardInput, "output": CardOutput}
            optional = {"input": {"batch": None}, "output": {"real_index": None}}
            nested: dict[str, Any] = {
                name: record(kinds[name], _with(optional.get(name, {}), content[name]), name)
                for name in kinds
                if name in content
            }
            content = {**content, **nested}
        return record(cls, content, "the card")

    def to_json(self) -> dict[str, Any]:
        """The card as JSON: dictionaries, lists, numbers, text."""
        content = plain(asdict(self))
        if self.input.batch is None:  # earlier versions do not know it, nor the next
            del content["input"]["batch"]
        if self.output.real_index is None:
            del content["output"]["real_index"]
        return content

    @classmethod
    def read(cls, path: str | os.PathLike) -> Card:
        """The card in the file ``path``; UserError names the file and what is wrong with it."""
        path = Path(path)
        if not path.is_file():
            raise UserError(
                f"{path} is missing; copy it from the folder that `defakeq export --out` wrote, "
                "it belongs beside the model"
            )
        content = read_json(path)
        try:
            return cls.from_json(content)
        except UserError as error:
            raise UserError(f"{path}: {error}; fix the file or export again") from None

    def write(self, path: str | os.PathLike) -> None:
        """Write the card; the file appears whole or not at all."""
        write_json(Path(path), self.to_json())


def card_beside(model: str | os.PathLike) -> Path:
    """The path of a model file's card."""
    return Path(model).parent / CARD_NAME


def _with(defaults: Mapping[str, Any], values: Any) -> Any:
    """A JSON object with what may be left out; anything else as it is."""
    return {**defaults, **values} if isinstance(values, Mapping) else values


def _check_fidelity(found: Any) -> None:
    """What a user decides by whether the file may take the place of the float one."""
    require(isinstance(found, Mapping), "auc.fidelity", found, "a JSON object")
    if "flips" in found:
        record(Flips, found["flips"], "auc.fidelity.flips")
    change = found.get("largest_probability_change", 0.0)
    within = is_number(change) and 0 <= change <= 1
    require(within, "auc.fidelity.largest_probability_change", change, "a number from 0 to 1")


def _check_version(value: Any) -> None:
    known = value == CARD_VERSION and not isinstance(value, bool)
    require(known, "format_version", value, f"{CARD_VERSION}, or this version of the package is too old")
