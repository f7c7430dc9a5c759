"""ONNX files, and folders of `transformers.js`, as detectors."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.class_labels import class_order
from brevitas_defakeq.detectors.side_files import side_settings
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing, size_pair
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from brevitas_defakeq.detectors.onnx_graph.interface import GraphInterface

_LOG = logging.getLogger(__name__)

#: Where a folder of `transformers.js` keeps its float graph; the first one found counts.
_IN_FOLDER = ("onnx/model.onnx", "onnx/model_fp16.onnx", "model.onnx")
#: The operator at the end of a graph -> the kind of the scores before it.
_KINDS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "logit"}


def onnx_file(name: str) -> Path | None:
    """The ONNX file that a detector's name stands for: the file itself, or the one in a folder."""
    path = Path(name)
    if path.is_dir():
        return next((path / inside for inside in _IN_FOLDER if (path / inside).is_file()), None)
    return path if path.suffix.lower() == ".onnx" else None


def import_onnx(
    file: Path, model_args: Mapping[str, Any], settings: Mapping[str, Any], *, from_quantized: bool
) -> tuple[nn.Module, dict[str, Any], ModelProto | None]:
    """The network in a file, the spec that rebuilds it, and the float32 graph it was made from.

    Args:
        model_args: ``output``, the name of the output that is the score.
        settings: fields of `Preprocessing`, with the user's options.
    """
    from brevitas_defakeq.detectors.onnx_graph.import_graph import import_graph

    unknown = set(model_args) - {"output"}
    if unknown:
        raise UserError(f"an ONNX file takes the model argument output=NAME alone, not {', '.join(unknown)}")
    size = settings.get("input_size")
    imported = import_graph(
        file, size=None if size is None else size_pair(size), output=model_args.get("output"),
        from_quantized=from_quantized,
    )  # fmt: skip
    program = json.dumps(imported.program.to_json(), separators=(",", ":"))
    spec = {
        "kind": "onnx", "name": _name(file), "model_args": dict(model_args), "program": program,
        "interface": imported.interface.to_json(), "input_size": size,
    }  # fmt: skip
    return imported.program.network(), spec, imported.scores


def folder_settings(name: str) -> dict[str, Any]:
    """The settings of a `transformers.js` folder, by file, which its export writes again; none for a file."""
    files = [Path(name) / file for file in ("config.json", "preprocessor_config.json")]
    found = {file.name: read_json(file) for file in files if file.is_file()}
    return {"folder": found} if found else {}


def build_onnx(spec: Mapping[str, Any]) -> nn.Module:
    """The network of a spec, with weights of zero."""
    from brevitas_defakeq.detectors.onnx_graph.program import Program

    return Program.from_json(json.loads(spec["program"])).network()


def fill_from_onnx_(model: nn.Module, files: Sequence[Path], spec: Mapping[str, Any]) -> None:
    """Load the weights of the file that a spec was made from."""
    from brevitas_defakeq.detectors.onnx_graph.import_graph import import_graph

    wanted = graph_interface(spec)
    size = None if wanted.size else size_pair(spec["input_size"])
    output = wanted.outputs[wanted.verdict].name
    imported = import_graph(files[0], size=size, output=output, from_quantized=True)
    if json.loads(spec["program"]) != imported.program.to_json():
        raise UserError(f"{files[0]} is not the file that the run was made from")
    model.load_state_dict(imported.program.network().state_dict())


def graph_interface(spec: Mapping[str, Any]) -> GraphInterface:
    """What the file that a spec was made from takes and returns."""
    from brevitas_defakeq.detectors.onnx_graph.interface import GraphInterface

    return GraphInterface.from_json(spec["interface"])


def output_of(spec: Mapping[str, Any], given: str | None) -> tuple[str, str | None]:
    """The kind of the network's scores, and the score's name where it returns several values."""
    interface, outputs = graph_interface(spec), json.loads(spec["program"])["outputs"]
    key = outputs[interface.verdict] if len(outputs) > 1 else None
    kind = _KINDS.get(interface.outputs[interface.verdict].final)
    if kind is None:
        return given or "auto", key
    return (kind if given in (None, "auto", "probability") else given), key


@dataclass(frozen=True)
class OnnxSettings:
    """What the files beside an ONNX file say.

    Attributes:
        preprocessing: fields of `Preprocessing`.
        classes: ``fake_index`` or ``real_index``; empty if unknown.
        crop: how its training faces were cropped; None if unknown.
    """

    preprocessing: dict[str, Any] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    crop: Crop | None = None


def onnx_settings(file: Path) -> OnnxSettings:
    """From a model card beside the file, or the ``config.json`` beside it or above."""
    card = file.parent / "model_card.json"
    if card.is_file():
        return _from_card(read_json(card))
    for folder in (file.parent, file.parent.parent):
        found = side_settings(folder)
        if found is not None:
            return OnnxSettings(dict(found.preprocessing), class_order(found.labels, folder / "config.json"))
    return OnnxSettings()


def onnx_preprocessing(file: Path, spec: Mapping[str, Any], given: Mapping[str, Any]) -> Preprocessing:
    """From the user's options and the side files; the size is the graph's."""
    interface = graph_interface(spec)
    fields = {key: value for key, value in given.items() if value is not None}
    fields["input_size"] = interface.size or fields["input_size"]
    if "mean" not in fields or "std" not in fields:
        _LOG.warning(
            "%s does not say how its images are normalized; mean and std of 0.5 are taken: give --mean and "
            "--std if they are others", file,
        )  # fmt: skip
    return Preprocessing(**fields)


def _from_card(card: Mapping[str, Any]) -> OnnxSettings:
    """The settings in a model card that this package wrote."""
    taken, made = card.get("input", {}), card.get("output", {})
    names = {name: name for name in ("mean", "std", "interpolation", "fit")} | {"input_size": "size"}
    fields = {key: taken[name] for key, name in names.items() if taken.get(name) is not None}
    option = "fake_index" if made.get("real_index") is None else "real_index"
    return OnnxSettings(
        {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()},
        {option: made[option]} if option in made else {},
        Crop(taken["crop"], taken.get("crop_margin") or 0.0) if taken.get("crop") else None,
    )


def _name(file: Path) -> str:
    """The file's name, or its folder's where all files are called alike."""
    parent = file.parent.resolve()
    if file.stem not in ("model", "model_fp16"):
        return file.stem
    return parent.parent.name if parent.name == "onnx" else parent.name
