"""Reads the settings that timm's hub and ``transformers`` store beside a detector's weights."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from brevitas_defakeq.detectors.class_labels import class_order
from brevitas_defakeq.detectors.parts.side_settings import SideSettings
from brevitas_defakeq.detectors.parts.timm_folder import timm_settings
from brevitas_defakeq.detectors.parts.transformers_folder import transformers_settings
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, understanding

_LOG = logging.getLogger(__name__)

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"


def side_settings(folder: Path) -> SideSettings | None:
    """The settings in a folder's ``config.json``; None where there is none, or another tool wrote it.

    Raises UserError where the file is damaged.
    """
    path = folder / _CONFIG
    content = read_json(path) if path.is_file() else {}
    with understanding(path, "fetch it again, or remove it and give the settings as options"):
        if "architecture" in content:
            return timm_settings(content)
        if "model_type" in content:
            processor = folder / _PROCESSOR
            return transformers_settings(content, read_json(processor) if processor.is_file() else {})
    return None


def names_architecture(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is timm's or that of ``transformers``."""
    return side_settings(folder) is not None


def detector_in_folder(folder: Path) -> SideSettings:
    """The settings of a folder that is given as the detector.

    Raises UserError where they name no architecture of timm.
    """
    found = side_settings(folder)
    if found is None:
        raise UserError(
            f"{folder} has no {_CONFIG} that names an architecture; name it, with --weights {folder}"
        )
    if found.architecture is None:
        raise UserError(
            f"{folder}: no timm architecture is known for {found.kind} of transformers; "
            "write a factory that builds it, as in module:factory"
        )
    return found


def class_order_beside(
    found: SideSettings, folder: Path, *, asked: str, own: Collection[str], class_given: bool
) -> dict[str, int]:
    """``fake_index`` or ``real_index`` by the labels of a folder's settings, where the user gives neither.

    Logs a line for what the settings say and nothing here follows.

    Args:
        found: the settings in the folder.
        asked: name of the detector that they are used for.
        own: fields of `Preprocessing`, and "output", that the detector brings itself; these win.
        class_given: whether the user says which class means fake.
    """
    unused = [
        *found.unused,
        *(f"{name} (the detector has its own)" for name in found.preprocessing if name in own),
    ]
    if found.kind == found.architecture and found.kind != asked:
        unused.append(f"architecture {found.kind} ({asked} was asked for)")
    if unused:
        _LOG.warning("%s: not followed: %s", folder / _CONFIG, ", ".join(unused))
    if class_given or "output" in own:
        return {}
    return class_order(found.labels, folder / _CONFIG)
