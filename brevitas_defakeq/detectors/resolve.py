"""Finds a detector by name: an ONNX file, a registry name, `module:factory` or a timm name, in this order."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.factory import call_factory, preprocessing_from_factory
from brevitas_defakeq.detectors.model_args import complete_timm_args, json_args, parse_model_args
from brevitas_defakeq.detectors.onnx_detector import (
    build_onnx,
    fill_from_onnx_,
    folder_settings,
    import_onnx,
    onnx_file,
    onnx_preprocessing,
    onnx_settings,
    output_of,
)
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.timm_model import build_timm, preprocessing_from_timm
from brevitas_defakeq.detectors.registry import REGISTRY, names
from brevitas_defakeq.detectors.weights_sources import Files, settings_beside, weights_files
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing, override
from brevitas_defakeq.imaging.stored_files import file_sha256
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

__all__ = ["Detector", "build", "parse_model_args", "resolve"]

_FORCE_TIMM = "timm:"


@dataclass(frozen=True)
class Detector:
    """A detector in evaluation mode, and what is needed to use and rebuild it.

    Attributes:
        model: images [N, 3, H, W] to raw outputs.
        name: the registry's, timm's or the factory's name.
        preprocessing: of its images.
        output: how to read its outputs.
        feature: the module whose output is the feature; None uses the input of the layer called last.
        spec: JSON from which `build` makes the architecture again.
        weights: the files' names and SHA-256; None for random weights.
        crop: how its training faces were cropped; None if unknown.
        blocks: modules that are reconstructed as one block.
        outside: module -> why it stays outside the quantized graph.
        dropped: names in the files that were not needed -> count.
        graph: the float32 ONNX graph, up to the scores, that the model was made from.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing | None
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] | None = None
    crop: Crop | None = None
    blocks: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    graph: ModelProto | None = None


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
    from_quantized: bool = False,
) -> Detector:
    """The detector of that name, with its weights loaded. Nothing is downloaded.

    Args:
        name: an ONNX file or a folder of `transformers.js`, a registry name, `module:factory` (imported from
            the working folder or the Python path; returns an nn.Module, or one and a dict of pre-processing
            fields) or a timm name (`timm:NAME` forces it).
        weights: one or several files, or a folder of `transformers`, whose `config.json` tells which class is
            fake. None gives random weights, except for `demo`, which has its own.
        model_args: JSON values for timm or the factory. `num_classes` defaults to that of the checkpoint's
            head (1 or 2), else to 2.
        input_size: overrides the detector's own, as do all following arguments; for a timm transformer it is
            also its `img_size`.
        interpolation: see `Preprocessing`.
        mean: see `Preprocessing`.
        std: see `Preprocessing`.
        output: an `OutputSpec`, or its kind.
        fake_index: the class that means fake.
        feature: the module whose output is the feature.
        from_quantized: take the float weights of a quantized ONNX file, which is refused otherwise.

    Raises:
        UserError: unknown names, weights or options that do not fit.
    """
    given: dict[str, Any] = {
        "input_size": input_size, "interpolation": interpolation, "mean": mean, "std": std
    }  # fmt: skip
    file = onnx_file(name)
    if file is not None:
        return _from_onnx(
            file, name, json_args(model_args), given, weights=weights, output=output, fake_index=fake_index,
            feature=feature, from_quantized=from_quantized,
        )  # fmt: skip
    if from_quantized:
        raise UserError("from_quantized (--from-quantized) is for ONNX files")
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
    return Detector(
        model=model.eval(),
        name=spec["name"],
        preprocessing=preprocessing,
        output=_output(entry.output if entry else OutputSpec(), output, fake_index),
        feature=feature or (entry.feature if entry else getattr(model, "feature_module", None)),
        spec=spec,
        weights=_identity(files),
        crop=entry.crop if entry else None,
        blocks=entry.blocks if entry else (),
        outside=entry.outside if entry else {},
        dropped=dropped,
    )


def _from_onnx(
    file: Path,
    given_name: str,
    model_args: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    weights: Files | None,
    output: OutputSpec | str | None,
    fake_index: int | None,
    feature: str | None,
    from_quantized: bool,
) -> Detector:
    """The detector in an ONNX file; ``given_name``: that file, or the folder it is in."""
    if weights:
        raise UserError(f"{file} holds its own weights; leave out --weights")
    beside = onnx_settings(file)
    crop, labelled = beside.pop("crop", None), beside.pop("fake_index", None)
    settings = beside | {key: value for key, value in given.items() if value is not None}
    model, spec, graph = import_onnx(file, model_args, settings, from_quantized=from_quantized)
    if not isinstance(output, OutputSpec):
        kind, key = output_of(spec, output)
        output = OutputSpec(kind, key=key)
    return Detector(
        model=model,
        name=spec["name"],
        preprocessing=onnx_preprocessing(file, spec, settings),
        output=_output(output, output, labelled if fake_index is None else fake_index),
        feature=feature,
        spec=spec | folder_settings(given_name),
        weights=_identity([file]),
        crop=crop,
        graph=graph,
    )


def _entry(spec: Mapping[str, Any]) -> DetectorEntry | None:
    return REGISTRY.get(spec["name"]) if spec.get("kind") == "registry" else None


def registered_weights(spec: Mapping[str, Any]) -> Path | None:
    """The file of the weights shipped for a detector, or None."""
    entry = _entry(spec)
    return None if entry is None else entry.weights


def fill_(model: nn.Module, spec: Mapping[str, Any], weights: Files) -> None:
    """Load files of weights into an architecture made by ``build(spec)``, as `resolve` does."""
    files = weights_files(weights)
    if spec.get("kind") == "onnx":
        fill_from_onnx_(model, files, spec)
    elif state := _read(files):
        _load_(model, state, _entry(spec), files)


def build(spec: Mapping[str, Any]) -> nn.Module:
    """The architecture described by a `Detector.spec`, with random weights, in evaluation mode.

    Raises UserError if the spec's kind is unknown or its detector no longer exists.
    """
    model, _ = _build_with_extras(spec)
    return model.eval()


def _spec(name: str, model_args: dict[str, Any]) -> dict[str, Any]:
    """The spec of the detector with that name."""
    if name in REGISTRY:
        return {"kind": "registry", "name": name, "model_args": model_args}
    if ":" in name and not name.startswith(_FORCE_TIMM):
        return {"kind": "factory", "name": name, "model_args": model_args}
    timm_name = name.removeprefix(_FORCE_TIMM)
    if not _is_timm(timm_name):
        raise UserError(_unknown(name))
    return {"kind": "timm", "name": timm_name, "model_args": model_args}


def _is_timm(name: str) -> bool:
    """Whether timm has the architecture and its tag, if any; names that would download do not count."""
    import timm

    try:
        return ":" not in name and timm.is_model(name) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # an unknown tag
        return False


def _unknown(name: str) -> str:
    """The message for an unknown name, with the closest known ones."""
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
    kind, name = spec.get("kind"), str(spec.get("name"))
    model_args = dict(spec.get("model_args") or {})
    if kind == "factory":
        return call_factory(name, model_args)
    if kind == "onnx":
        return build_onnx(spec), {}
    if kind == "timm":
        return build_timm(name, **model_args), {}
    if kind == "registry" and name in REGISTRY:
        return _built(REGISTRY[name], model_args), {}
    raise UserError(f"a detector of kind {kind!r} and name {name!r} cannot be rebuilt; give the model itself")


def _built(entry: DetectorEntry, model_args: Mapping[str, Any]) -> nn.Module:
    """The entry's architecture; UserError where it does not take the arguments or makes no module."""
    from torch import nn

    try:
        inspect.signature(entry.build).bind(**model_args)
    except TypeError:
        raise UserError(
            f"the detector {entry.name} takes no model arguments; leave out {', '.join(model_args)}"
        ) from None
    model = entry.build(**model_args)
    if not isinstance(model, nn.Module):
        raise UserError(f"the detector {entry.name} was built as {type(model).__name__}; return an nn.Module")
    return model


def _preprocessing(
    model: nn.Module, entry: DetectorEntry | None, factory_values: dict[str, Any], options: dict[str, Any]
) -> Preprocessing:
    """From the registry, timm's configuration or the factory, overridden by the user's options."""
    if entry is not None:
        return override(entry.preprocessing_of(model), **options)
    from_timm = preprocessing_from_timm(model).to_dict() if getattr(model, "pretrained_cfg", None) else {}
    return preprocessing_from_factory({**from_timm, **factory_values}, options)


def _output(default: OutputSpec, output: OutputSpec | str | None, fake_index: int | None) -> OutputSpec:
    """The default with the user's kind and fake class, or the user's own spec."""
    chosen = output if isinstance(output, OutputSpec) else replace(default, kind=output or default.kind)
    return chosen if fake_index is None else replace(chosen, fake_index=fake_index)


def _read(files: Sequence[Path]) -> State | None:
    from brevitas_defakeq.detectors.checkpoint import read_checkpoints

    return read_checkpoints(files) if files else None


def _load_(
    model: nn.Module, state: State, entry: DetectorEntry | None, files: Sequence[Path]
) -> dict[str, int]:
    from brevitas_defakeq.detectors.load_weights import load_detector_weights

    return load_detector_weights(model, state, entry, source=", ".join(map(str, files)))


def _identity(files: Sequence[Path]) -> dict[str, str] | None:
    """Names and SHA-256 of the files of weights."""
    if not files:
        return None
    return {
        "file": ", ".join(path.name for path in files), "sha256": ", ".join(map(file_sha256, files)),
    }  # fmt: skip
