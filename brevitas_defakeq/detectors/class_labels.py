"""Which class of a detector means fake, read from the labels that are stored beside its weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

_LOG = logging.getLogger(__name__)

_FAKE_WORDS = (
    r"(?:fake|forg|spoof|synthe|(?<!human )generat|manipulat|artificial|tamper|counterfeit|attack|altered|"
    r"edited|modified|swap|morph|diffusion|ai\b|aigc\b|gans?\b|cgi\b)"
)
_REAL_WORDS = (
    r"(?:real(?!istic)|authentic|genuine|human|live(?:ness)?\b|original|natural|bona ?fide|pristine|camera)"
)
#: "not real", "non-fake", "unaltered", "inauthentic".
_NOT = r"\b(?:(?:not?|non) (?:an? )?|un|in|non)"
_MEANINGS = {
    "real": (re.compile(_NOT + _FAKE_WORDS), re.compile(rf"\b{_REAL_WORDS}")),
    "fake": (re.compile(_NOT + _REAL_WORDS), re.compile(rf"\b(?:deep|face)?{_FAKE_WORDS}")),
}
#: Heads of more classes are those of a general classifier, whose labels prove nothing unless all are clear.
_FEW = 8
_NAMED_AT_MOST = 4


def class_order(labels: Mapping[int, str], source: Path) -> dict[str, int]:
    """``fake_index``, or ``real_index`` where several classes are fake; empty where the labels do not tell.

    Logs a line where they do not, or where a label had to be guessed from the others.

    >>> class_order({0: "Deepfake", 1: "Real"}, Path("config.json"))
    {'fake_index': 0}
    >>> class_order({0: "live", 1: "print attack", 2: "replay attack"}, Path("config.json"))
    {'real_index': 0}
    """
    meanings = {index: meaning_of(label) for index, label in labels.items()}
    reals = [index for index, meaning in meanings.items() if meaning == "real"]
    fakes = [index for index, meaning in meanings.items() if meaning == "fake"]
    listed = ", ".join(f"{index}: {label}" for index, label in list(labels.items())[:_NAMED_AT_MOST])
    found: dict[str, int] = {}
    if len(reals) == 1 and len(labels) == 2:
        found = {"fake_index": next(index for index in labels if index != reals[0])}
    elif len(reals) == 1 and len(labels) > 2:
        found = {"real_index": reals[0]}
    elif len(fakes) == 1 and len(labels) > 1:
        found = {"fake_index": fakes[0]}
    clear = None not in meanings.values()
    if not found or not (clear or len(labels) <= _FEW):
        _LOG.warning(
            "the labels in %s (%s) do not say which class means fake; give --fake-index", source,
            listed or "none",
        )  # fmt: skip
        return {}
    if not clear:
        ((option, index),) = found.items()
        word = option.removesuffix("_index")
        _LOG.warning(
            "by the labels in %s (%s) class %d is taken for %s; --%s-index changes that",
            source, listed, index, word, word,
        )  # fmt: skip
    return found


def meaning_of(label: str) -> str | None:
    """ "real" or "fake", or None where the label is neither.

    >>> [meaning_of(label) for label in ("AI-generated human", "notFake", "bona_fide", "cat")]
    ['fake', 'real', 'real', None]
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(label)).lower()
    words = re.sub(r"[^a-z]+", " ", words).strip()
    for denied in (0, 1):
        for meaning in ("fake", "real"):
            if _MEANINGS[meaning][denied].search(words):
                return meaning
    return None
