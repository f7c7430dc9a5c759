"""The people in a video, as far as its name gives them."""

from __future__ import annotations

import re
from functools import lru_cache

#: Data set -> those whose names mean the same people.
_FAMILIES = {
    **dict.fromkeys(
        ("FaceForensics++", "FaceShifter", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"), "FaceForensics++"
    ),
    **dict.fromkeys(("Celeb-DF-v1", "Celeb-DF-v2"), "Celeb-DF"),
    **{name: name for name in ("DeepFakeDetection", "DFDCP", "UADFV")},
}
#: Family -> a video's name with one person, or with two where faces were swapped.
_NAMES = {
    "FaceForensics++": r"(\d{3})(?:_(\d{3}))?",
    "Celeb-DF": r"(id\d+)(?:_(id\d+))?_\d+",
    "DeepFakeDetection": r"(\d{2})(?:_(\d{2}))?__.+",
    "DFDCP": r"(\d+)(?:_(\d+))?_[A-Z]_\d+",
    "UADFV": r"(\d{4})(?:_fake)?",
}


@lru_cache(1 << 16)
def identities(dataset: str, video: str) -> frozenset[str]:
    """The people in a video; empty where its name does not tell.

    Both the target and the source of a swapped face count: 000_003 and 003_000 show the same two.

    >>> sorted(identities("FaceForensics++", "FF-DF/c23/000_003"))
    ['FaceForensics++ 000', 'FaceForensics++ 003']
    >>> identities("holiday", "000_003")
    frozenset()
    """
    family = _FAMILIES.get(dataset)
    match = family and re.fullmatch(_NAMES[family], video.rpartition("/")[2])
    return frozenset(f"{family} {person}" for person in match.groups() if person) if match else frozenset()
