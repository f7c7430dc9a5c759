"""Metrics of some of the frames, for every variant of a detector, with intervals and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from brevitas_defakeq.evaluation.conventions import Convention
from brevitas_defakeq.evaluation.fidelity import fidelity
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import Estimates, Scores, auc_drops, auc_estimates, mean_estimates


@dataclass(frozen=True)
class ScoredFrames:
    """Frames, the logits [N] of every variant on them, and how metrics are computed.

    ``thresholds``: variant -> decision threshold on its logit; 0 where it is missing.
    """

    table: FrameTable
    logits: Scores
    thresholds: Mapping[str, float]
    convention: Convention

    def __getitem__(self, chosen: np.ndarray) -> ScoredFrames:
        """The frames that a mask [N] chooses."""
        logits = {variant: values[chosen] for variant, values in self.logits.items()}
        return ScoredFrames(self.table[chosen], logits, self.thresholds, self.convention)


@dataclass(frozen=True)
class SubsetMetrics:
    """``metrics``: variant -> JSON key -> value. ``aucs``: "auc" (of frames) and "video_auc" -> the estimates
    behind their intervals; a key is missing where its frames or videos are of one class.
    """

    metrics: Mapping[str, dict[str, Any]]
    aucs: Mapping[str, Estimates] = field(default_factory=dict)


def subset_metrics(frames: ScoredFrames, seed: Sequence[int]) -> SubsetMetrics:
    """All metrics of the frames, and of their videos under "video"; fidelity to "float" needs no labels."""
    convention, labels = frames.convention, frames.table.labels
    scores = {variant: convention.scores(values) for variant, values in frames.logits.items()}
    counts = {"n": len(labels), "fake": int((labels == 1).sum()), "real": int((labels == 0).sum())}
    close = _fidelities(frames.logits, frames.thresholds)
    if not (counts["fake"] and counts["real"]):
        return SubsetMetrics({variant: {**counts, **close.get(variant, {})} for variant in scores})
    videos = convention.videos(frames.table)
    by_frame = _level(frames, labels, scores, videos, seed)
    by_video = _videos(frames, scores, videos, seed, by_frame)
    aucs = dict(by_frame.aucs)
    if by_video.aucs:
        aucs["video_auc"] = by_video.aucs["auc"]
    found = {}
    for variant, own in by_frame.metrics.items():
        video = by_video.metrics[variant]
        own = {**own, **counts, **close.get(variant, {})}
        found[variant] = {**own, "video_auc": video.get("auc"), "video": video}
    return _with_intervals(found, aucs)


def mean_metrics(subsets: Sequence[SubsetMetrics]) -> SubsetMetrics:
    """The plain means over the subsets that have both classes, whose draws are independent."""
    subsets = [subset for subset in subsets if subset.aucs]
    if not subsets:
        return SubsetMetrics({})
    keys = [key for key in ("auc", "video_auc") if all(key in subset.aucs for subset in subsets)]
    aucs = {key: mean_estimates([subset.aucs[key] for subset in subsets]) for key in keys}
    found = {
        variant: {"datasets": len(subsets)}
        | {key: estimates[variant].value for key, estimates in aucs.items()}
        | {key: float(np.mean([subset.metrics[variant][key] for subset in subsets])) for key in ("eer", "ap")}
        for variant in subsets[0].metrics
    }
    return _with_intervals(found, aucs)


def _level(
    frames: ScoredFrames, labels: np.ndarray, scores: Scores, groups: np.ndarray | None, seed: Sequence[int]
) -> SubsetMetrics:
    """Metrics of single frames, or of single videos (``groups`` None), [N]."""
    estimates = auc_estimates(labels, scores, groups=groups, seed=seed)
    found = {
        variant: {
            "auc": estimates[variant].value,
            **frames.convention.compute(labels, values, frames.thresholds.get(variant, 0.0)),
        }
        for variant, values in scores.items()
    }
    return _with_intervals(found, {"auc": estimates})


def _videos(
    frames: ScoredFrames, scores: Scores, videos: np.ndarray, seed: Sequence[int], by_frame: SubsetMetrics
) -> SubsetMetrics:
    """Metrics of videos: each scores the mean of its frames, and is fake if all of its frames are."""
    labels, codes = frames.table.labels, np.unique(videos, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(codes)
    video_labels = (np.bincount(codes, labels) == sizes).astype(np.int8)
    if len(sizes) == len(labels):
        found = by_frame  # a frame a video
    elif video_labels.min() == video_labels.max():  # folders of both classes that share their name
        found = SubsetMetrics({variant: {} for variant in scores})
    else:
        found = _level(frames, video_labels, _video_means(scores, codes), None, seed)
    close = _fidelities(_video_means(frames.logits, codes), frames.thresholds)
    counted = {
        variant: {**own, "n": len(sizes), **close.get(variant, {})} for variant, own in found.metrics.items()
    }
    return SubsetMetrics(counted, found.aucs)


def _video_means(scores: Scores, codes: np.ndarray) -> dict[str, np.ndarray]:
    """The mean score of each video; ``codes`` [N]: the video of each frame, numbered from 0."""
    sizes = np.bincount(codes)
    return {variant: np.bincount(codes, values) / sizes for variant, values in scores.items()}


def _fidelities(logits: Scores, thresholds: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """``fidelity`` to "float", by that key, of every other variant; nothing where "float" is missing."""
    if "float" not in logits:
        return {}
    reference, threshold = logits["float"], thresholds.get("float", 0.0)
    return {
        variant: {"fidelity": fidelity(reference, own, None, threshold, thresholds.get(variant, 0.0))}
        for variant, own in logits.items() if variant != "float"
    }  # fmt: skip


def _with_intervals(metrics: Mapping[str, dict[str, Any]], aucs: Mapping[str, Estimates]) -> SubsetMetrics:
    """Add the interval of every AUC and, as ``drop``, what a variant loses against "float"."""
    drops = {key: auc_drops(estimates) for key, estimates in aucs.items()}
    found = {}
    for variant, own in metrics.items():
        intervals = {f"{key}_interval": list(each[variant].interval()) for key, each in aucs.items()}
        drop: dict[str, Any] = {}
        for key, each in drops.items():
            drop |= each[variant].to_dict(key) if variant in each else {}
        found[variant] = own | intervals | ({"drop": drop} if drop else {})
    return SubsetMetrics(found, aucs)
