"""Renames and joins the tensors of a published checkpoint."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_QUERY = re.compile(r"(.*\.)q(\.weight|\.bias)$")


def renamed(state: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    """The state with all rules (pattern -> replacement, as in ``re.sub``) applied to every name, in order."""
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``X.q``, ``X.k``, ``X.v`` stacked to ``X.qkv``, weights and biases, wherever all three exist."""
    result = dict(state)
    for name in state:
        found = _QUERY.match(name)
        if not found:
            continue
        parts = [f"{found[1]}{letter}{found[2]}" for letter in "qkv"]
        if all(part in result for part in parts):
            result[f"{found[1]}qkv{found[2]}"] = torch.cat([result.pop(part) for part in parts])
    return result
