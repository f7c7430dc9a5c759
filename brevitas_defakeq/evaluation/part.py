"""Figures of some of the frames, for every form of a detector, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brevitas_defakeq.evaluation.bootstrap import bootstrap_aucs, interval
from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.convention import Convention
from brevitas_defakeq.evaluation.metrics import auc

#: Form of a detector -> one score a frame, [N].
Scores = Mapping[str, np.ndarray]
#: Figure -> form -> its bootstrapped values; by equal place the same resample.
Draws = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Part:
    """Figures by form, ready for JSON, and the bootstrapped AUCs behind their intervals (none where one class
    is missing).
    """

    figures: dict[str, dict]
    draws: Draws

    @classmethod
    def of(cls, figures: dict[str, dict], draws: Draws) -> Part:
        """With the interval of every bootstrapped figure, and ``drop``, what a form loses against float."""
        for form, own in figures.items():
            own |= {f"{key}_interval": list(interval(drawn[form])) for key, drawn in draws.items()}
            if "float" in figures and form != "float":
                own["drop"] = _drop(figures, draws, form)
        return cls(figures, draws)


@dataclass(frozen=True)
class Judge:
    """Scores [N] by form, and the rules by which they are judged.

    ``thresholds``: form -> decision threshold on its logit; 0 where it is missing.
    """

    columns: Columns
    scores: Scores
    thresholds: Mapping[str, float]
    rules: Convention

    def part(self, chosen: np.ndarray, seed: Sequence[int]) -> Part:
        """Figures of the frames that the mask [N] chooses."""
        columns = self.columns[chosen]
        scores = {form: self.rules.scores(values[chosen]) for form, values in self.scores.items()}
        labels, videos = columns.labels, self.rules.videos(columns)
        counts = {"n": len(labels), "fake": int((labels == 1).sum()), "real": int((labels == 0).sum())}
        if not (counts["fake"] and counts["real"]):
            return Part({form: dict(counts) for form in scores}, {})
        frames = self._level(labels, scores, videos, seed)
        by_video = self._videos(labels, scores, videos, seed, frames)
        figures = {
            form: {
                **frames.figures[form], **counts, "video_auc": by_video.figures[form].get("auc"),
                "video": by_video.figures[form],
            }
            for form in scores
        }  # fmt: skip
        draws = dict(frames.draws)
        if by_video.draws:
            draws["video_auc"] = by_video.draws["auc"]
        return Part.of(figures, draws)

    def _level(
        self, labels: np.ndarray, scores: Scores, groups: np.ndarray | None, seed: Sequence[int]
    ) -> Part:
        """Figures of single frames or of single videos."""
        draws = bootstrap_aucs(labels, list(scores.values()), groups=groups, seed=seed)
        figures = {
            form: {
                "auc": auc(labels, values),
                **self.rules.figures(labels, values, self.thresholds.get(form, 0.0)),
            }
            for form, values in scores.items()
        }
        return Part.of(figures, {"auc": dict(zip(scores, draws, strict=True))})

    def _videos(
        self, labels: np.ndarray, scores: Scores, videos: np.ndarray, seed: Sequence[int], frames: Part
    ) -> Part:
        """Figures of videos: each scores the mean of its frames, and is fake if all of its frames are."""
        codes = np.unique(videos, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(codes)
        counts = {"n": len(sizes)}
        if len(sizes) == len(labels):
            return Part({form: {**own, **counts} for form, own in frames.figures.items()}, frames.draws)
        means = {form: np.bincount(codes, values) / sizes for form, values in scores.items()}
        video_labels = (np.bincount(codes, labels) == sizes).astype(np.int8)
        if video_labels.min() == video_labels.max():  # folders of both classes that share their name
            return Part({form: dict(counts) for form in scores}, {})
        found = self._level(video_labels, means, None, seed)
        return Part({form: {**own, **counts} for form, own in found.figures.items()}, found.draws)


def mean_part(parts: Sequence[Part]) -> Part:
    """The plain means over data sets that have both classes; the draws of each are its own."""
    parts = [part for part in parts if part.draws]
    if not parts:
        return Part({}, {})
    keys = [key for key in ("auc", "video_auc") if all(key in part.draws for part in parts)]
    forms = list(parts[0].figures)
    figures = {
        form: {"datasets": len(parts)}
        | {key: float(np.mean([part.figures[form][key] for part in parts])) for key in (*keys, "eer", "ap")}
        for form in forms
    }
    draws = {
        key: {form: np.mean([part.draws[key][form] for part in parts], axis=0) for form in forms}
        for key in keys
    }
    return Part.of(figures, draws)


def _drop(figures: Mapping[str, dict], draws: Draws, form: str) -> dict:
    """AUC of float minus AUC of the form, with the interval over the same resamples."""
    found = {}
    for key, drawn in draws.items():
        found[key] = figures["float"][key] - figures[form][key]
        found[f"{key}_interval"] = list(interval(drawn["float"] - drawn[form]))
    return found
