"""Messages in the words of the command line: ``on_corrupt=skip`` becomes ``--on-corrupt skip``.

The package names its arguments, which is right in Python; a command says which option that is.
"""

import re
from collections.abc import Mapping

#: The package's argument -> the command's parameter, where the names differ.
_OTHER_NAMES = {"variant": "which", "datasets": "names"}
#: Arguments that messages also name without a value.
_BARE = ("average_bits", "candidate_bits", "activation_bits", "max_auc_drop", "keep_float")
#: A quoted text, a tuple, or a word; then it ends before punctuation.
_VALUE = r"""'[^']*'|"[^"]*"|\([^()]*\)|[^\s,;:()'"]*[^\s,;:.()'"]|\.\.\.|(?=[\s,;:]|$)"""


def in_option_words(message: str, options: Mapping[str, str]) -> str:
    """The message with each argument that is an option of the command written as one.

    Args:
        options: parameter -> its option, {"on_corrupt": "--on-corrupt"}.

    >>> in_option_words("std=(0.0, 1.0): wrong; take fit='centre'", {"std": "--std"})
    "--std 0.0,1.0: wrong; take fit='centre'"
    """
    known = {**options, **{name: options[own] for name, own in _OTHER_NAMES.items() if own in options}}
    if not known:
        return message
    names = "|".join(map(re.escape, known))
    given = re.compile(rf"(?<![\w./-])({names})=({_VALUE})")
    message = given.sub(lambda found: f"{known[found[1]]} {_typed(found[1], found[2])}".rstrip(), message)
    bare = "|".join(name for name in _BARE if name in known)
    return (
        re.sub(rf"(?<![\w./-])({bare})(?![\w./-])", lambda found: known[found[1]], message)
        if bare
        else message
    )


def _typed(name: str, value: str) -> str:
    """A Python value as a person types it."""
    if value == "None":
        return "0" if name == "activation_bits" else ""
    if value[:1] in ("'", '"'):
        return value[1:-1]
    return re.sub(r",\s*", ",", value.strip("()").rstrip(","))
