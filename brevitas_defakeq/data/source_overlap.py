"""Images that two sources share: calibration images must not be test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.imaging.stored_files import file_sha256, identity
from brevitas_defakeq.utils.errors import UserError


def refuse_shared(
    few: Sequence[Sample],
    many: Sequence[Sample],
    *,
    few_are: str = "calibration images",
    many_are: str = "the test set",
) -> None:
    """Raises UserError if ``many`` contains an image of ``few``, under any name, path or link.

    ``few_are`` and ``many_are`` name the two in the message.
    """
    shared = shared_images(few, many)
    if shared:
        first, same = next(iter(shared.items()))
        raise UserError(
            f"{len(shared)} of {len(few)} {few_are} are in {many_are} too, the first is {first}"
            + (f" (there {same})" if same != first else "")
            + "; take them from different splits, or out of one of the two"
        )


def shared_images(few: Sequence[Sample], many: Sequence[Sample]) -> dict[str, str]:
    """Path in `few` -> path in `many` of the same file, or of a file with the same bytes.

    Only files of `many` that are as large as one of `few` are read. Missing files are ignored.
    """
    by_file: dict[tuple, list[str]] = defaultdict(list)
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in Listing.of(few).paths():
        if known := _identity(path):
            by_file[known[0]].append(path)
            by_size[known[1]].append(path)
    if not by_file:
        return {}
    hashes: dict[int, dict[str, list[str]]] = {}
    found: dict[str, str] = {}
    for path in Listing.of(many).paths():
        known = _identity(path)
        if known is None:
            continue
        file, size = known
        same = by_file.get(file)
        if not same and size in by_size:
            if size not in hashes:
                hashes[size] = _by_hash(by_size[size])
            same = hashes[size].get(file_sha256(path))
        for own in same or ():
            found.setdefault(own, path)
    return found


def _identity(path: str) -> tuple[tuple, int] | None:
    try:
        return identity(path)
    except OSError:
        return None


def _by_hash(paths: list[str]) -> dict[str, list[str]]:
    """Files by the hash of their content."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[file_sha256(path)].append(path)
    return found
