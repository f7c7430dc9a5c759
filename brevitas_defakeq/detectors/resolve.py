"""Finds a detector by name: an ONNX file, a registry name, `module:factory` or a timm name, in this order."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.architecture_spec import (
    FORCE_TIMM,
    entry_of,
    is_known,
    spec_of,
    timm_name_of,
)
from brevitas_defakeq.detectors.detector import Detector, identity_of, output_as_given
from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.factory import call_factory, preprocessing_from_factory
from brevitas_defakeq.detectors.model_args import (
    complete_timm_args,
    json_args,
    parse_model_args,
    require_two_classes,
)
from brevitas_defakeq.detectors.onnx_detector import build_onnx, fill_from_onnx_, onnx_file
from brevitas_defakeq.detectors.onnx_resolve import resolve_onnx
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.timm_model import build_timm, preprocessing_from_timm
from brevitas_defakeq.detectors.registry import REGISTRY
from brevitas_defakeq.detectors.side_files import (
    class_order_beside,
    detector_in_folder,
    names_architecture,
    side_settings,
)
from brevitas_defakeq.detectors.weights_sources import Files, weights_files
from brevitas_defakeq.imaging.preprocessing import Preprocessing, override
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Detector", "build", "parse_model_args", "resolve"]


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
    real_index: int | None = None,
    feature: str | None = None,
    ignore_keys: Sequence[str] = (),
    seed: int | None = None,
    from_quantized: bool = False,
) -> Detector:
    """The detector of that name, with its weights loaded. Nothing is downloaded.

    Args:
        name: an ONNX file or a folder of `transformers.js`, a folder of timm's hub or of `transformers`, a
            registry name, `module:factory` (imported from the working folder or the Python path; returns an
            nn.Module, or one and a dict of pre-processing fields) or a timm name (`timm:NAME` forces it).
        weights: one or several files or folders. The `config.json` and `preprocessor_config.json` beside them
            tell which class is fake and how images are prepared. None gives random weights, except for
            `demo`, which has its own, and for a folder.
        model_args: JSON values for timm or the factory. `num_classes` defaults to that of the checkpoint's
            head (1 or 2), else to 2.
        input_size: overrides the detector's own, as do all following arguments; for a timm transformer it is
            also its `img_size`.
        interpolation: see `Preprocessing`.
        mean: see `Preprocessing`.
        std: see `Preprocessing`.
        output: an `OutputSpec`, or its kind.
        fake_index: the class that means fake.
        real_index: the class that means real, where all others mean fake.
        feature: the module whose output is the feature.
        ignore_keys: glob patterns of names in the files that are left out, as in `criterion.*`; also of the
            parts of a file, as in `state_dict_ema`.
        seed: of random weights; None draws them from torch's own generator.
        from_quantized: take the float weights of a quantized ONNX file, which is refused otherwise.

    Raises:
        UserError: unknown names, weights or options that do not fit.
    """
    given: dict[str, Any] = {
        "input_size": input_size, "interpolation": interpolation, "mean": mean, "std": std
    }  # fmt: skip
    named = (("fake_index", fake_index), ("real_index", real_index))
    classes = {option: index for option, index in named if index is not None}
    file = onnx_file(name)
    if file is not None:
        if weights or ignore_keys:
            option = "--weights" if weights else "--ignore-keys"
            raise UserError(f"{file} holds its own weights; leave out {option}")
        return resolve_onnx(
            file, name, json_args(model_args), given, output=output, classes=classes, feature=feature,
            from_quantized=from_quantized,
        )  # fmt: skip
    if from_quantized:
        raise UserError(f"--from-quantized is for ONNX files; leave it out with {name}")
    if Path(name).is_dir() and (names_architecture(Path(name)) or not is_known(name)):
        weights = weights or name
        name, model_args = _in_folder(Path(name), model_args or {}, input_size)
    spec = spec_of(name, json_args(model_args))
    if ignore_keys:
        spec["ignore_keys"] = list(ignore_keys)
    entry, timm_name = entry_of(spec), timm_name_of(spec)
    files = weights_files(weights or registered_weights(spec) or ())
    state, dropped = _read(files, ignore_keys) if files else (None, {})
    _check_ignored(dropped, ignore_keys, files)
    side = side_settings(files[0].parent) if files else None
    fields: dict[str, Any] = dict(side.preprocessing) if side else {}
    if timm_name is not None:
        given = fields | {key: value for key, value in given.items() if value is not None}
        size = given.get("input_size")
        spec["model_args"] = complete_timm_args(timm_name, spec["model_args"], state, size)
    with seeded(seed):
        model, factory_values = _build_with_extras(spec)
    if side is not None:
        own = _own_settings(entry, factory_values)
        said = bool(classes) or isinstance(output, OutputSpec)
        classes |= class_order_beside(side, files[0].parent, asked=spec["name"], own=own, class_given=said)
    if timm_name is not None and not classes and not isinstance(output, OutputSpec):
        require_two_classes(spec["model_args"])
    preprocessing = _preprocessing(model, entry, fields | factory_values, given)
    if state is not None:
        dropped |= _load_(model, state, entry, files)
    return Detector(
        model=model.eval(),
        name=spec["name"],
        preprocessing=preprocessing,
        output=output_as_given(entry.output if entry else OutputSpec(), output, classes),
        feature=feature or (entry.feature if entry else getattr(model, "feature_module", None)),
        spec=spec,
        weights=identity_of(files),
        crop=entry.crop if entry else None,
        blocks=entry.blocks if entry else (),
        outside=entry.outside if entry else {},
        dropped=dropped,
        untrained=state is None and spec["kind"] != "factory",
    )


def _in_folder(
    folder: Path, model_args: Mapping[str, Any], input_size: int | tuple[int, int] | None
) -> tuple[str, dict[str, Any]]:
    """The name and arguments of the architecture that a folder's settings name; given ones win."""
    found = detector_in_folder(folder)
    args = dict(found.model_args)
    if input_size is not None:
        args.pop("img_size", None)
    return f"{FORCE_TIMM}{found.architecture}", {**args, **model_args}


def registered_weights(spec: Mapping[str, Any]) -> Path | None:
    """The file of the weights shipped for a detector, or None."""
    entry = entry_of(spec)
    return None if entry is None else entry.weights


def fill_(model: nn.Module, spec: Mapping[str, Any], weights: Files) -> None:
    """Load files of weights into an architecture made by ``build(spec)``, as `resolve` does."""
    files = weights_files(weights)
    if spec.get("kind") == "onnx":
        fill_from_onnx_(model, files, spec)
    elif files:
        state, _ = _read(files, spec.get("ignore_keys", ()))
        _load_(model, state, entry_of(spec), files)


def build(spec: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """The architecture described by a `Detector.spec`, with random weights, in evaluation mode.

    ``seed`` as in `resolve`. Raises UserError if the spec's kind is unknown or its detector no longer exists.
    """
    with seeded(seed):
        model, _ = _build_with_extras(spec)
    return model.eval()


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Torch draws from this seed within the context, and goes on as before after it; None changes nothing."""
    import torch

    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


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


def _own_settings(entry: DetectorEntry | None, factory_values: Mapping[str, Any]) -> Collection[str]:
    """The fields of `Preprocessing`, and "output", that a detector brings itself."""
    if entry is None or entry.timm_name is not None:
        return factory_values
    return (*Preprocessing.__dataclass_fields__, "output")


def _read(files: Sequence[Path], ignore_keys: Sequence[str]) -> tuple[State, dict[str, int]]:
    """The tensors in the files, and the patterns of names left out -> how many there were."""
    from brevitas_defakeq.detectors.checkpoint import read_checkpoints

    counts = dict.fromkeys(ignore_keys, 0)
    return read_checkpoints(files, counts), counts


def _check_ignored(counts: Mapping[str, int], ignore_keys: Sequence[str], files: Sequence[Path]) -> None:
    """Raises UserError for a pattern that has left out nothing."""
    idle = next((pattern for pattern in ignore_keys if not counts.get(pattern)), None)
    if idle is not None:
        where = ", ".join(map(str, files)) or "the weights: there are none"
        raise UserError(f"--ignore-keys {idle!r} matches no name in {where}; correct it or leave it out")


def _load_(
    model: nn.Module, state: State, entry: DetectorEntry | None, files: Sequence[Path]
) -> dict[str, int]:
    from brevitas_defakeq.detectors.load_weights import load_detector_weights

    return load_detector_weights(model, state, entry, source=", ".join(map(str, files)))
