"""From a name to a detector: a registry name, the user's `module:factory`, or a timm name, in this order."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.entry import DetectorEntry
from brevitas_defakeq.detectors.factory import call_factory, preprocessing_from_factory
from brevitas_defakeq.detectors.model_args import complete_timm_args, json_args, parse_model_args
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.timm_model import build_timm, preprocessing_from_timm
from brevitas_defakeq.detectors.registry import REGISTRY, names
from brevitas_defakeq.detectors.weights_sources import Files, settings_beside, weights_files
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing, override
from brevitas_defakeq.imaging.stored_files import file_sha256
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Detector", "build", "parse_model_args", "resolve"]

_FORCE_TIMM = "timm:"


@dataclass(frozen=True)
class Detector:
    """A detector in evaluation mode with all that is needed to use and to rebuild it.

    `spec` is the JSON from which `build` makes the architecture again, `weights` the file's name and SHA-256
    (None: random weights), `feature` the module whose output is the feature (None: see `feature_tap`). `crop`
    says how its faces were cut out, `blocks` which modules are reconstructed as one, `outside` (module ->
    why) what stays outside the quantized graph, `dropped` (name -> count) what in the file was not needed.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] | None = None
    crop: Crop | None = None
    blocks: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


def resolve(
    name: str,
    *,
    weights: Files | None = None,
    model_args: Mapping[str, Any] | None = None,
    input_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
    output: OutputSpec | str | None = None,
    fake_index: int | None = None,
    feature: str | None = None,
) -> Detector:
    """The detector of that name, with its weights loaded.

    `name` is a registry name, `module:factory` (imported from the working folder or the Python path; gives an
    nn.Module, or one and a dict of pre-processing fields) or a timm name (`timm:NAME` forces it).
    `model_args` are JSON values for timm or the factory. The other options override what the detector's
    source says; an `input_size` that a timm transformer was not built for is passed on to timm as `img_size`.
    Without `num_classes` among the arguments it follows the checkpoint's head (1 or 2), else it is 2. Without
    weights the model is random, except `demo`, which has its own. Nothing is ever downloaded. Raises
    UserError for unknown names and for weights or options that do not fit. `weights` may be several files, or
    a folder of `transformers`, whose `config.json` then says which class is fake.
    """
    given = {"input_size": input_size, "interpolation": interpolation, "mean": mean, "std": std}
    spec = _spec(name, json_args(model_args))
    entry, timm_name = _entry(spec), _timm_name(spec)
    files = weights_files(weights or registered_weights(spec) or ())
    state = _read(files)
    beside = settings_beside(files[0]) if files and timm_name else {}
    labelled = beside.pop("fake_index", None)
    fake_index = labelled if fake_index is None else fake_index
    given |= {key: value for key, value in beside.items() if given.get(key) is None}
    if timm_name is not None:
        spec["model_args"] = complete_timm_args(timm_name, spec["model_args"], state, given["input_size"])
    model, factory_values = _build_with_extras(spec)
    preprocessing = _preprocessing(model, entry, factory_values, given)
    dropped = {} if state is None else _load_(model, state, entry, files)
    about = {} if entry is None else {"crop": entry.crop, "blocks": entry.blocks, "outside": entry.outside}
    return Detector(
        model=model.eval(),
        name=spec["name"],
        preprocessing=preprocessing,
        output=_output(entry.output if entry else OutputSpec(), output, fake_index),
        feature=feature or (entry.feature if entry else getattr(model, "feature_module", None)),
        spec=spec,
        weights=_identity(files),
        dropped=dropped,
        **about,
    )


def _entry(spec: Mapping[str, Any]) -> DetectorEntry | None:
    return REGISTRY.get(spec["name"]) if spec.get("kind") == "registry" else None


def registered_weights(spec: Mapping[str, Any]) -> Path | None:
    """The weights that the package ships for a detector, if it does."""
    entry = _entry(spec)
    return None if entry is None else entry.weights


def fill_(model: nn.Module, spec: Mapping[str, Any], weights: Files) -> None:
    """Put files of weights into an architecture that ``build(spec)`` gave, as `resolve` does."""
    files = weights_files(weights)
    _load_(model, _read(files), _entry(spec), files)


def build(spec: Mapping[str, Any]) -> nn.Module:
    """The architecture that a `Detector.spec` describes, with random weights, in evaluation mode.

    Raises UserError if the spec's kind is unknown or what it names is gone.
    """
    model, _ = _build_with_extras(spec)
    return model.eval()


def _spec(name: str, model_args: dict[str, Any]) -> dict[str, Any]:
    """Which kind of detector the name means."""
    if name in REGISTRY:
        return {"kind": "registry", "name": name, "model_args": model_args}
    if ":" in name and not name.startswith(_FORCE_TIMM):
        return {"kind": "factory", "name": name, "model_args": model_args}
    timm_name = name.removeprefix(_FORCE_TIMM)
    if not _is_timm(timm_name):
        raise UserError(_unknown(name))
    return {"kind": "timm", "name": timm_name, "model_args": model_args}


def _is_timm(name: str) -> bool:
    """Whether timm knows the architecture and its tag, if any; names that would download do not count."""
    import timm

    try:
        return ":" not in name and timm.is_model(name) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # an unknown tag
        return False


def _unknown(name: str) -> str:
    """What to say about a name that nothing knows: the closest ones that something does."""
    import timm

    known = [*names(), *timm.list_models()]
    close = difflib.get_close_matches(name.removeprefix(_FORCE_TIMM).lower(), known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"registry names are {', '.join(names())}."
    return f"detector {name!r} is unknown: {hint} Give a registry name, a timm name or module:factory"


def _timm_name(spec: Mapping[str, Any]) -> str | None:
    """The timm architecture behind a spec, or None."""
    if spec["kind"] == "timm":
        return spec["name"]
    return REGISTRY[spec["name"]].timm_name if spec["kind"] == "registry" else None


def _build_with_extras(spec: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The architecture and, from a factory, its pre-processing fields."""
    kind, name, model_args = spec.get("kind"), spec.get("name"), dict(spec.get("model_args") or {})
    if kind == "factory":
        return call_factory(name, model_args)
    if kind == "timm":
        return build_timm(name, **model_args), {}
    if kind == "registry" and name in REGISTRY:
        return _built(REGISTRY[name], model_args), {}
    raise UserError(f"a detector of kind {kind!r} and name {name!r} cannot be rebuilt; give the model itself")


def _built(entry: DetectorEntry, model_args: Mapping[str, Any]) -> nn.Module:
    """The entry's architecture; UserError where it does not take the arguments."""
    try:
        inspect.signature(entry.build).bind(**model_args)
    except TypeError:
        raise UserError(
            f"the detector {entry.name} takes no model arguments; leave out {', '.join(model_args)}"
        ) from None
    return entry.build(**model_args)


def _preprocessing(
    model: nn.Module, entry: Any, factory_values: dict[str, Any], options: dict[str, Any]
) -> Preprocessing:
    """From the registry, timm's configuration or the factory, with the user's options on top."""
    if entry is not None:
        return override(entry.preprocessing_of(model), **options)
    from_timm = preprocessing_from_timm(model).to_dict() if getattr(model, "pretrained_cfg", None) else {}
    return preprocessing_from_factory({**from_timm, **factory_values}, options)


def _output(default: OutputSpec, output: OutputSpec | str | None, fake_index: int | None) -> OutputSpec:
    """The default with the user's kind and class order, or the user's own spec."""
    chosen = output if isinstance(output, OutputSpec) else replace(default, kind=output or default.kind)
    return chosen if fake_index is None else replace(chosen, fake_index=fake_index)


def _read(files: Sequence[Path]) -> dict[str, torch.Tensor] | None:
    from brevitas_defakeq.detectors.load_weights import read_weights

    return read_weights(files) if files else None


def _load_(
    model: nn.Module, state: Mapping[str, torch.Tensor], entry: DetectorEntry | None, files: Sequence[Path]
) -> dict[str, int]:
    from brevitas_defakeq.detectors.load_weights import load_weights_

    return load_weights_(model, state, entry, source=", ".join(map(str, files)))


def _identity(files: Sequence[Path]) -> dict[str, str] | None:
    """Names and SHA-256 of the files of weights."""
    if not files:
        return None
    return {
        "file": ", ".join(path.name for path in files), "sha256": ", ".join(map(file_sha256, files)),
    }  # fmt: skip
