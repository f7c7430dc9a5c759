"""Modules that a user asks to keep in float: one's own front end of fixed filters, a head."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION
from brevitas_defakeq.nn.module_tree import modules_by_name
from brevitas_defakeq.utils.errors import UserError

#: Why they stay float, in ``Plan.left_float``.
KEPT_FLOAT = "kept float by --keep-float"


def kept_float(model: nn.Module, patterns: Sequence[str]) -> dict[str, str]:
    """The modules that the patterns name, outermost ones alone, with the reason.

    Args:
        patterns: dotted names, in which ``*``, ``?`` and ``[...]`` stand for any characters, dots too; a name
            stands for all that is in the module.

    Raises:
        UserError: a pattern matches no module with weights.
    """
    if not patterns:
        return {}
    names = [name for name, module in modules_by_name(model).items() if _has_weights(module)]
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise UserError(_unmatched(pattern, names))
        found |= matched
    inner = {name for name in found for top in found if name.startswith(f"{top}.")}
    return {name: KEPT_FLOAT for name in names if name in found - inner}


def _has_weights(module: nn.Module) -> bool:
    """Whether something in the module would be quantized: a matrix, or an attention's products."""
    tensors = (*module.parameters(), *module.buffers())
    attentions = tuple(QUANTIZED_ATTENTION)
    return any(tensor.dim() >= 2 for tensor in tensors) or isinstance(module, attentions)


def _unmatched(pattern: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
    near += [name for name in names if name.rsplit(".", 1)[-1] == pattern and name not in near]
    hint = f"did you mean {', '.join(near[:3])}?" if near else f"there are {', '.join(names[:5])}, ..."
    return (
        f"keep_float={pattern!r} matches no module with weights; {hint} (`defakeq inspect` lists the layers)"
    )
