"""The findings of a check that the user should look at, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def problems_of(findings: dict[str, Any]) -> list[str]:
    """One line for each finding that would distort metrics."""
    return [*_classes(findings), *_lacks(findings), *_shared(findings), *_labels(findings)]


def _classes(findings: dict[str, Any]) -> Iterator[str]:
    """Data sets and splits with one class, which have no AUC."""
    lone: dict[str, list[str]] = {}
    for dataset in findings["datasets"]:
        for split, labels in dataset["splits"].items():
            if len(labels) == 1 and split != "unlisted":
                name = dataset["name"] if split == "all" else f"{dataset['name']} {split}"
                lone.setdefault(next(iter(labels)), []).append(name)
    for label, names in sorted(lone.items()):
        yield f"all samples are {label} in {', '.join(names)}"


def _lacks(findings: dict[str, Any]) -> Iterator[str]:
    yield from findings["refused"]
    if findings["left_out"]:
        yield f"{findings['path']}: left out: {findings['left_out']}"
    for lack in findings["lacks"]:
        source = ", ".join(lack["datasets"]) or findings["path"]
        if lack["no_list"]:
            yield lack["no_list"]
        if lack["missing"]:
            named = ", ".join(lack["first_missing"])
            yield f"{source}: {lack['missing']} of {lack['total']} {lack['what']} are missing: {named}"
        if lack["empty"]:
            yield f"{source}: {lack['empty']} videos have no frames: {', '.join(lack['first_empty'])}"
        if lack["unlisted"] and not lack["no_list"]:
            yield f"{source}: {lack['unlisted']} videos are in no official list and are left out"
    unreadable = findings["unreadable"]
    if unreadable["count"]:
        yield f"{unreadable['count']} images cannot be read, the first: {unreadable['first'][0]}"


def _shared(findings: dict[str, Any]) -> Iterator[str]:
    for shared in findings["shared"]:
        yield f"{shared['dataset']}: {' and '.join(shared['between'])} share {_counted(shared)}"
    calibration = findings["calibration"]
    if calibration and any(calibration[what] for what in ("images", "videos", "people")):
        yield f"calibration {calibration['path']} and the test split share {_counted(calibration)}"


def _counted(shared: dict[str, Any]) -> str:
    """The shared people, videos and images; shared videos and images invalidate a test."""
    text = f"{shared['people']} people, {shared['videos']} videos, "
    text += f"{shared['images']} of {shared['compared']} images"
    invalid = shared["videos"] or shared["images"]
    return text + ("; do not calibrate on the one and test on the other" if invalid else "")


def _labels(findings: dict[str, Any]) -> Iterator[str]:
    for found in findings["label_goes_with"]:
        if found["notable"]:
            yield (
                f"the label goes with the {found['attribute']} ({100 * found['accuracy']:.0f} % right): "
                f"{found['value']} are {100 * found['share_of_real']:.0f} % of the real and "
                f"{100 * found['share_of_fake']:.0f} % of the fake images"
            )
