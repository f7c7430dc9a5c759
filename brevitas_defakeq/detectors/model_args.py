"""Arguments for building a detector: parsed, checked, completed."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.imaging.preprocessing import size_pair
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import torch

#: Model arguments of timm that would download or load weights.
_RESERVED_ARGS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def parse_model_args(arguments: Sequence[str]) -> dict[str, Any]:
    """Model arguments from `key=value` words; values are JSON or Python literals, else strings.

    >>> parse_model_args(["pad_type=same", "bn_eps=1e-3", "img_size=[192, 192]", "dynamic=true"])
    {'pad_type': 'same', 'bn_eps': 0.001, 'img_size': [192, 192], 'dynamic': True}
    """
    parsed = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key.strip().isidentifier():
            raise UserError(f"model argument {argument!r} is not of the form KEY=VALUE, as in pad_type=same")
        parsed[key.strip()] = _literal(value.strip())
    return parsed


def json_args(model_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments after a JSON round trip; UserError for values JSON lacks and for what loads weights."""
    reserved = [key for key in model_args or {} if key in _RESERVED_ARGS]
    if reserved:
        raise UserError(
            f"model argument {reserved[0]} is not allowed: nothing is downloaded; give the file as weights"
        )
    try:
        return json.loads(json.dumps(dict(model_args or {})))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"model_args must be numbers, text, lists and the like ({error}); write a factory"
        ) from error


def complete_timm_args(
    timm_name: str,
    model_args: Mapping[str, Any],
    state: Mapping[str, torch.Tensor] | None,
    input_size: int | tuple[int, int] | None,
) -> dict[str, Any]:
    """The arguments with `num_classes` and, for a transformer of another input size, `img_size` added.

    `num_classes` is the given one, else that of the head in the checkpoint's `state` (1 or 2), else 2. Raises
    UserError if it is below 1.
    """
    model_args = dict(model_args)
    import timm

    configuration = timm.get_pretrained_cfg(timm_name)
    model_args.setdefault("num_classes", _head_rows(configuration, state) or 2)
    if not isinstance(model_args["num_classes"], int) or model_args["num_classes"] < 1:
        raise UserError(
            f"num_classes={model_args['num_classes']!r} leaves no verdict; give 1 (one logit) or 2"
        )
    if input_size is not None and configuration is not None and configuration.fixed_input_size:
        size = list(size_pair(input_size))
        if size != list(configuration.input_size[1:]):
            model_args.setdefault("img_size", size)
    return model_args


def require_two_classes(model_args: Mapping[str, Any]) -> None:
    """Raises UserError for a head of more classes, of which nobody said which one means fake."""
    if model_args["num_classes"] > 2:
        raise UserError(
            f"of num_classes={model_args['num_classes']} it is not known which mean fake; give --fake-index, "
            "or --real-index where all others are fake"
        )


def _head_rows(configuration: Any, state: Mapping[str, torch.Tensor] | None) -> int | None:
    """The number of rows of the checkpoint's classifier if it is 1 or 2, else None."""
    heads = getattr(configuration, "classifier", None) or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    for head in heads:
        for name, tensor in (state or {}).items():
            if f".{name}".endswith(f".{head}.weight") and tensor.shape[0] in (1, 2):
                return int(tensor.shape[0])
    return None


def _literal(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return text
