"""What a reader of the figures ought to know, each in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: Share of tied scores above which it is said.
TIES_WORTH_SAYING = 0.1


def notes(figures: Mapping) -> list[str]:
    """Remarks on the figures of one form, from ``summaries``."""
    return [*_reversed(figures), *_one_class(figures), *_ties(figures), *_faces(figures)]


def _reversed(figures: Mapping) -> Iterator[str]:
    per_dataset = figures["per_dataset"]
    places = {"all data": figures, **(per_dataset if len(per_dataset) > 1 else {})}
    low = {name: found["auc"] for name, found in places.items() if found.get("auc", 1.0) < 0.5}
    if low:
        listed = ", ".join(f"{name} ({value:.3f})" for name, value in low.items())
        yield f"AUC below 0.5 on {listed}: labels or class order look reversed; nothing was flipped"


def _one_class(figures: Mapping) -> Iterator[str]:
    for word, other in (("real", "fake"), ("fake", "real")):
        names = [name for name, found in figures["per_dataset"].items() if not found[other]]
        if names:
            yield f"no AUC of their own for {', '.join(names)}: only {word} images"


def _ties(figures: Mapping) -> Iterator[str]:
    share = figures["tied_share"]
    if share > TIES_WORTH_SAYING:
        distinct = figures["distinct_scores"]
        yield f"{100 * share:.1f} % of the scores tie ({distinct} distinct scores); a tie counts one half"


def _faces(figures: Mapping) -> Iterator[str]:
    if figures["no_face"]:
        yield f"{figures['no_face']} frames had no face and are not counted"
