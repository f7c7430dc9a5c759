"""How well scores tell fake from real, how sure that is, and how close two detectors are.

Everywhere: labels [N] of 0 (real) and 1 (fake), scores [N] of any scale, higher is more fake; logits are
better than probabilities, which tie near 0 and 1. Labels of one class, or scores that are not finite, raise
UserError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.errors import UserError

#: Weights held in memory at a time while resampling: 4 million doubles, 32 MB.
_BOOTSTRAP_CELLS = 4_000_000
#: A copy without any error would be infinitely close, which JSON cannot say.
_HIGHEST_SNR_DB = 200.0
_INTERVAL = (0.025, 0.975)


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often a fake image scores above a real one, ties counting one half.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    labels, scores = _both_classes(labels, scores)
    return float(_weighted_aucs(labels, scores, np.ones((1, len(labels))))[0])


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: Sequence | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The AUC's 95 % bootstrap interval (low, high).

    Images, or whole groups (videos, [N]) where given, are drawn again with replacement, fake and real apart
    so that their numbers stay; `samples` times.
    """
    return _interval(_bootstrap_aucs(labels, [scores], groups, samples, seed)[0])


def paired_interval(
    labels: ArrayLike,
    first_scores: ArrayLike,
    second_scores: ArrayLike,
    *,
    groups: Sequence | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % bootstrap interval of AUC(first) - AUC(second), both on the same resampled images."""
    first, second = _bootstrap_aucs(labels, [first_scores, second_scores], groups, samples, seed)
    return _interval(first - second)


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> float:
    """The share of right verdicts, fake being a score above the threshold. One class will do."""
    labels, scores = _checked(labels, scores)
    return float(np.mean((scores > threshold) == (labels == 1)))


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """The rate at which reals are called fake as often as fakes real, interpolated linearly."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(*_both_classes(labels, scores), drop_intermediate=False)
    gap = (1 - true_positive) - false_positive  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    step = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(false_positive[after - 1] + step * (false_positive[after] - false_positive[after - 1]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the precision-recall curve, stepwise, fake being the class that is looked for."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_both_classes(labels, scores)))


def summary(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float = 0.0,
    groups: Sequence | None = None,
    datasets: Sequence | None = None,
) -> dict[str, Any]:
    """All figures of one run, ready for JSON.

    `groups` [N] are videos: the interval resamples them and `video_auc` (None without them) scores each by
    its mean; videos of equal name are one only within a data set and a label. `per_dataset` holds n, and the
    AUC where a data set has both classes.
    """
    labels, scores = _both_classes(labels, scores)
    names = np.zeros(len(labels), int) if datasets is None else np.asarray(datasets).astype(str)
    videos = None if groups is None else _codes(names, np.asarray(groups).astype(str))
    return {
        "auc": auc(labels, scores),
        "auc_interval": list(auc_interval(labels, scores, groups=videos)),
        "accuracy": accuracy(labels, scores, threshold),
        "eer": eer(labels, scores),
        "ap": average_precision(labels, scores),
        "n": len(labels),
        "video_auc": None if videos is None else _video_auc(labels, scores, videos),
        "per_dataset": {} if datasets is None else _per_dataset(labels, scores, names),
    }


def fidelity(
    float_scores: ArrayLike,
    other_scores: ArrayLike,
    float_features: ArrayLike,
    other_features: ArrayLike,
    float_threshold: float = 0.0,
    other_threshold: float = 0.0,
) -> dict[str, float]:
    """How close a compressed detector is to its float original on the same images; needs no labels.

    `rank_correlation` of the scores (Spearman, -1..1; 0 where all scores of one are equal),
    `verdict_agreement`, the share of equal verdicts, each by its own threshold, and `feature_snr_db`, the
    power of the float features [N, C] over that of the difference in dB, at most 200.
    """
    float_scores, other_scores = _finite(float_scores, "float scores"), _finite(other_scores, "other scores")
    agreement = np.mean((float_scores > float_threshold) == (other_scores > other_threshold))
    return {
        "rank_correlation": _rank_correlation(float_scores, other_scores),
        "verdict_agreement": float(agreement),
        "feature_snr_db": _snr_db(np.asarray(float_features, float), np.asarray(other_features, float)),
    }


def carry_threshold(
    float_scores: ArrayLike, quantized_scores: ArrayLike, float_threshold: float = 0.0
) -> float:
    """The quantized score above which as many images lie as lie above the float threshold.

    Give the scores of the real images alone where labels are known: then the false-positive rate is what
    stays. All scores between two neighbours give that rate; of these the one nearest to the float threshold
    is taken, so a close copy keeps the threshold itself.
    """
    old = np.sort(_finite(float_scores, "float scores"))
    new = np.sort(_finite(quantized_scores, "quantized scores"))
    if len(old) != len(new):
        raise UserError(
            f"{len(old)} float scores and {len(new)} quantized ones: give both for the same images"
        )
    below = int(np.searchsorted(old, float_threshold, side="right"))
    lowest = new[below - 1] if below else -np.inf
    highest = np.nextafter(new[below], -np.inf) if below < len(new) else np.inf
    return float(min(max(float_threshold, lowest), highest))


def _finite(scores: ArrayLike, what: str = "scores") -> np.ndarray:
    """Scores as doubles [N]; raises UserError if there are none or any is not finite."""
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    broken = int(np.count_nonzero(~np.isfinite(scores)))
    if broken or not len(scores):
        raise UserError(f"{broken} of {len(scores)} {what} are not finite; a detector must score every image")
    return scores


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as integers and scores as doubles, both [N]."""
    labels, scores = np.asarray(labels).reshape(-1), _finite(scores)
    if len(labels) != len(scores):
        raise UserError(f"{len(labels)} labels and {len(scores)} scores: give one of each for every image")
    if not np.isin(labels, (0, 1)).all():
        raise UserError("labels must be 0 (real) or 1 (fake) for every image; give labelled data")
    return labels.astype(np.int64), scores


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = _checked(labels, scores)
    if labels.min() == labels.max():
        only = "fake" if labels[0] else "real"
        raise UserError(
            f"all {len(labels)} images are {only}; an AUC needs real and fake ones, so add the others"
        )
    return labels, scores


def _weighted_aucs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUC [B] under each row of image weights [B, N]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where each distinct score begins
    weights, fake = weights[:, order], labels[order] == 1
    fakes = np.add.reduceat(weights * fake, starts, axis=1)  # [B, distinct scores]
    reals = np.add.reduceat(weights * ~fake, starts, axis=1)
    below = np.cumsum(reals, axis=1) - reals / 2  # real weight below each score, ties one half
    return (fakes * below).sum(1) / (fakes.sum(1) * reals.sum(1))


def _bootstrap_aucs(
    labels: ArrayLike, all_scores: Sequence[ArrayLike], groups: Sequence | None, samples: int, seed: int
) -> np.ndarray:
    """The AUC [len(all_scores), samples] of each scoring on the same resamples."""
    checked = [_both_classes(labels, scores) for scores in all_scores]
    labels = checked[0][0]
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    generator, rows = np.random.default_rng(seed), max(1, _BOOTSTRAP_CELLS // len(labels))
    parts = []
    for start in range(0, samples, rows):
        weights = _resampled(labels, groups, min(rows, samples - start), generator)
        parts.append([_weighted_aucs(labels, scores, weights) for _, scores in checked])
    return np.concatenate(parts, axis=1)


def _resampled(
    labels: np.ndarray, groups: np.ndarray, rows: int, generator: np.random.Generator
) -> np.ndarray:
    """Image weights [rows, N]: how often each image's group was drawn, the classes apart."""
    weights = np.empty((rows, len(labels)))
    for label in (0, 1):
        codes = np.unique(groups[labels == label], return_inverse=True)[1].reshape(-1)
        count = int(codes.max()) + 1
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=rows * count).reshape(rows, count)
        weights[:, labels == label] = times[:, codes]
    return weights


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)


def _codes(*columns: np.ndarray) -> np.ndarray:
    """One integer a distinct combination of the columns, [N]."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + inverse.reshape(-1), return_inverse=True)[1].reshape(-1)
    return codes


def _video_auc(labels: np.ndarray, scores: np.ndarray, videos: np.ndarray) -> float:
    """The AUC of the videos' mean scores; a name in both classes is two videos."""
    codes = _codes(videos, labels)
    means = np.bincount(codes, scores) / np.bincount(codes)
    return auc(np.bincount(codes, labels) > 0, means)


def _per_dataset(labels: np.ndarray, scores: np.ndarray, names: np.ndarray) -> dict[str, dict[str, Any]]:
    rows = {}
    for name in np.unique(names):
        own = names == name
        rows[str(name)] = {"n": int(own.sum())}
        if labels[own].min() != labels[own].max():
            rows[str(name)]["auc"] = auc(labels[own], scores[own])
    return rows


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if len(np.unique(first)) == 1 or len(np.unique(second)) == 1:
        return 0.0
    return float(spearmanr(first, second).statistic)


def _snr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """10 log10 of the reference's power over the difference's, at most `_HIGHEST_SNR_DB`."""
    signal, noise = np.square(reference).sum(), np.square(reference - other).sum()
    floor = signal * 10 ** (-_HIGHEST_SNR_DB / 10)
    if signal == 0:
        return _HIGHEST_SNR_DB if noise == 0 else -_HIGHEST_SNR_DB
    return float(10 * np.log10(signal / max(noise, floor)))
