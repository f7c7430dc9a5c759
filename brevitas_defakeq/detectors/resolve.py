"""From a name to a detector: a registry name, the user's `module:factory`, or a timm name, in this order."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.data.preprocessing import Preprocessing, override, preprocessing_from_timm
from brevitas_defakeq.data.sources import file_sha256
from brevitas_defakeq.detectors.factory import call_factory, preprocessing_from_factory
from brevitas_defakeq.detectors.model_args import complete_timm_args, json_args, parse_model_args
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.registry import REGISTRY, build_timm, names
from brevitas_defakeq.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Detector", "build", "parse_model_args", "resolve"]

_FORCE_TIMM = "timm:"


@dataclass(frozen=True)
class Detector:
    """A detector in evaluation mode with all that is needed to use and to rebuild it.

    `spec` is the JSON from which `build` makes the architecture again, `weights` the file's name and SHA-256
    (None: random weights), `feature` the module whose output is the feature (None: see `feature_tap`).
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] | None = None


def resolve(
    name: str,
    *,
    weights: str | os.PathLike | None = None,
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
    UserError for unknown names and for weights or options that do not fit.
    """
    size_options = {"input_size": input_size, "interpolation": interpolation, "mean": mean, "std": std}
    spec = _spec(name, json_args(model_args))
    entry = _entry(spec)
    weights = weights or registered_weights(spec)
    state = None if weights is None else _read(weights)
    timm_name = _timm_name(spec)
    if timm_name is not None:
        spec["model_args"] = complete_timm_args(timm_name, spec["model_args"], state, input_size)
    model, factory_values = _build_with_extras(spec)
    preprocessing = _preprocessing(model, entry, factory_values, size_options)
    if state is not None:
        _load(model, state, weights)
    return Detector(
        model=model.eval(),
        name=spec["name"],
        preprocessing=preprocessing,
        output=_output(entry.output if entry else OutputSpec(), output, fake_index),
        feature=feature or (entry.feature if entry else None),
        spec=spec,
        weights=None if weights is None else {"file": Path(weights).name, "sha256": file_sha256(weights)},
    )


def _entry(spec: Mapping[str, Any]):
    return REGISTRY.get(spec["name"]) if spec.get("kind") == "registry" else None


def registered_weights(spec: Mapping[str, Any]) -> Path | None:
    """The weights that the package ships for a detector, if it does."""
    entry = _entry(spec)
    return None if entry is None else entry.weights


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
        return REGISTRY[name].build(**model_args), {}
    raise UserError(f"a detector of kind {kind!r} and name {name!r} cannot be rebuilt; give the model itself")


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


def _read(weights: str | os.PathLike) -> dict[str, torch.Tensor]:
    from brevitas_defakeq.detectors.checkpoint import read_checkpoint

    return read_checkpoint(weights)


def _load(model: nn.Module, state: Mapping[str, torch.Tensor], weights: str | os.PathLike) -> None:
    from brevitas_defakeq.detectors.checkpoint import load_state

    load_state(model, state, source=str(weights))
