"""Which architecture a name means: the spec from which it is built."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from brevitas_defakeq.detectors.entry import DetectorEntry
from brevitas_defakeq.detectors.registry import REGISTRY, names
from brevitas_defakeq.utils.errors import UserError

FORCE_TIMM = "timm:"


def spec_of(name: str, model_args: dict[str, Any]) -> dict[str, Any]:
    """The spec of the detector with that name: registry, `module:factory` or timm. UserError if unknown."""
    if name in REGISTRY:
        return {"kind": "registry", "name": name, "model_args": model_args}
    if ":" in name and not name.startswith(FORCE_TIMM):
        return {"kind": "factory", "name": name, "model_args": model_args}
    timm_name = name.removeprefix(FORCE_TIMM)
    if not _is_timm(timm_name):
        raise UserError(_unknown(name))
    return {"kind": "timm", "name": timm_name, "model_args": model_args}


def is_known(name: str) -> bool:
    """Whether a name is known without looking at folders."""
    return name in REGISTRY or ":" in name or _is_timm(name)


def entry_of(spec: Mapping[str, Any]) -> DetectorEntry | None:
    return REGISTRY.get(spec["name"]) if spec.get("kind") == "registry" else None


def timm_name_of(spec: Mapping[str, Any]) -> str | None:
    """The timm architecture behind a spec, or None."""
    if spec["kind"] == "timm":
        return spec["name"]
    return REGISTRY[spec["name"]].timm_name if spec["kind"] == "registry" else None


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
    close = difflib.get_close_matches(name.removeprefix(FORCE_TIMM).lower(), known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"registry names are {', '.join(names())}."
    return f"detector {name!r} is unknown: {hint} Give a registry name, a timm name or module:factory"
