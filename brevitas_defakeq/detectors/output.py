"""From a detector's output, in whatever form, to the logit of "fake" of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import torch

SPEC_KINDS = ("auto", "logit", "softmax", "probability")

#: Usual names of the verdict in a dictionary or an output object; the first one found counts.
_LOGIT_KEYS = ("logits", "cls", "logit", "out", "output")
_PROBABILITY_KEYS = ("prob", "probability", "probs")


@dataclass(frozen=True)
class OutputSpec:
    """How to read a detector's output.

    Attributes:
        kind: "logit" is one score for each image, [N] or [N, 1], with threshold 0; "softmax" is class scores
            before the softmax, [N, C]; "probability" is P(fake), [N] or [N, 1], or class probabilities,
            [N, C]; "auto" distinguishes the first two by shape, and probabilities by their usual names in a
            dictionary.
        fake_index: the class that means fake; with one score, 0 means that a high score is real.
        key: the name or position of the verdict among several outputs; None searches for it.
        real_index: the class that means real, where all others mean fake; takes the place of ``fake_index``.
            With one score, 1 means that a high score is real.
    """

    kind: str = "auto"
    fake_index: int = 1  #: 0 = real, 1 = fake in every benchmark of the field
    key: str | int | None = None
    real_index: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in SPEC_KINDS:
            raise UserError(f"output={self.kind!r} is not known; choose one of {', '.join(SPEC_KINDS)}")
        option, index, fake = self._named_class()
        if not isinstance(index, int) or index < 0:
            word = "fake" if fake else "real"
            raise UserError(f"{option}={index!r} is not a class; give 0 or 1, or the {word} class's number")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; ``real_index`` only where it is given, so that older versions read it."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("real_index", None)}

    def fake_logit(self, raw: Any) -> torch.Tensor:
        """The fake logit of each image, [N], above 0 where fake is the likelier verdict; differentiable.

        One score z is the logit itself, two give z[fake] - z[real], more z[fake] - logsumexp(others) or, with
        `real_index`, logsumexp(others) - z[real]: in each case the log-odds of P(fake) after a softmax.
        Raises UserError if `raw` contains no tensor of a suitable shape.

        >>> import torch
        >>> OutputSpec().fake_logit(torch.tensor([[1.0, 3.0]]))
        tensor([2.])
        """
        scores, probable = self.scores(raw)  # [N, C]
        if probable:
            return self._from_probability(scores)
        if scores.shape[1] == 1:
            return self._sign() * scores[:, 0]
        _, index, fake = self._named_class()
        if scores.shape[1] == 2:  # as below, with operators that every exported graph has
            first, second = (index, 1 - index) if fake else (1 - index, index)
            return scores[:, first] - scores[:, second]
        others = scores[:, [other for other in range(scores.shape[1]) if other != index]].logsumexp(dim=1)
        return scores[:, index] - others if fake else others - scores[:, index]

    def scores(self, raw: Any) -> tuple[torch.Tensor, bool]:
        """The scores [N, C] in the output, and whether they are known to be probabilities."""
        picked, named_probability = _pick(raw, self.key)
        scores = _score_matrix(picked)
        self._check_shape(scores)
        return scores, self.kind == "probability" or (self.kind == "auto" and named_probability)

    def _from_probability(self, scores: torch.Tensor) -> torch.Tensor:
        """log(p / (1 - p)) of the fake probability, clamped so that it stays finite."""
        import torch

        edge = torch.finfo(scores.dtype).eps
        if scores.shape[1] == 1:
            return self._sign() * scores[:, 0].clamp(edge, 1 - edge).logit()
        _, index, fake = self._named_class()
        logit = scores[:, index].clamp(edge, 1 - edge).logit()
        return logit if fake else -logit

    def _named_class(self) -> tuple[str, int, bool]:
        """The option that names a class, the class, and whether it means fake."""
        if self.real_index is None:
            return "fake_index", self.fake_index, True
        return "real_index", self.real_index, False

    def _sign(self) -> int:
        """1 where a single high score is fake, -1 where it is real."""
        _, index, fake = self._named_class()
        return 1 if fake == (index == 1) else -1

    def _check_shape(self, scores: torch.Tensor) -> None:
        """Refuse scores [N, C] that contradict `kind` or lack the class that is named."""
        width = scores.shape[1]
        if self.kind == "logit" and width != 1:
            raise UserError(
                f"output=logit expects one score an image, the detector gives {width}; use output=softmax"
            )
        if self.kind == "softmax" and width == 1:
            raise UserError(
                "output=softmax expects two or more scores an image, the detector gives 1; use output=logit"
            )
        option, index, _ = self._named_class()
        if index >= max(width, 2):
            raise UserError(f"{option}={index} is beyond the detector's {width} scores; they count from 0")


def _score_matrix(scores: torch.Tensor) -> torch.Tensor:
    """Scores as float [N, C] from [N], [N, C] or [N, C, 1, 1]. Raises UserError for other shapes."""
    shape = tuple(scores.shape)
    if (
        scores.ndim == 0
        or any(side != 1 for side in shape[2:])
        or 0 in shape[1:]
        or not scores.is_floating_point()
    ):
        raise UserError(
            f"the detector's output of shape {shape} and type {scores.dtype} is not a verdict; expected is "
            "floating point of shape [N], [N, 1] or [N, classes]: name the right part by its key, "
            "or wrap the model"
        )
    return scores[:, None] if scores.ndim == 1 else scores.flatten(1)


def _pick(raw: Any, key: str | int | None) -> tuple[torch.Tensor, bool]:
    """The verdict's tensor, and whether its name is that of a probability."""
    if key is not None:
        return _by_key(raw, key), key in _PROBABILITY_KEYS
    if _is_tensor(raw):
        return raw, False
    named = _named_outputs(raw)
    for name in (*_LOGIT_KEYS, *_PROBABILITY_KEYS):
        if _is_tensor(named.get(name)):
            return named[name], name in _PROBABILITY_KEYS
    parts = list(named.values()) or (list(raw) if isinstance(raw, (tuple, list)) else [])
    tensors = [part for part in parts if _is_tensor(part)]
    slim = [part for part in tensors if part.ndim == 1 or (part.ndim == 2 and part.shape[1] <= 2)]
    if len(tensors) == 1 or (slim and not named):
        return (slim or tensors)[0], False
    raise UserError(
        f"the verdict was not found in the detector's output ({_described(raw)}); name it by its key"
    )


def _by_key(raw: Any, key: str | int) -> torch.Tensor:
    """The output under a name or position. Raises UserError if it does not exist or is no tensor."""
    named = _named_outputs(raw)
    if key in named:
        part = named[key]
    elif isinstance(key, int) and isinstance(raw, (tuple, list)) and -len(raw) <= key < len(raw):
        part = raw[key]
    else:
        raise UserError(f"the detector's output has no part {key!r}; it holds {_described(raw)}")
    if not _is_tensor(part):
        raise UserError(f"part {key!r} of the detector's output is a {type(part).__name__}, not a tensor")
    return part


def _named_outputs(raw: Any) -> dict[Any, Any]:
    """The entries of a dictionary, a named tuple, or an object with attributes; empty for anything else."""
    if isinstance(raw, Mapping):
        return dict(raw)
    if hasattr(raw, "_asdict"):
        return raw._asdict()
    if _is_tensor(raw) or isinstance(raw, (tuple, list)) or not hasattr(raw, "__dict__"):
        return {}
    return vars(raw)


def _described(raw: Any) -> str:
    """A description of the output for an error message."""
    named = _named_outputs(raw) or (dict(enumerate(raw)) if isinstance(raw, (tuple, list)) else {})
    if not named:
        return type(raw).__name__
    return ", ".join(
        f"{name}: {list(part.shape) if _is_tensor(part) else type(part).__name__}"
        for name, part in named.items()
    )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
