"""AUCs of several forms on the same images, whose differences are paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brevitas_defakeq.evaluation.bootstrap import bootstrap_aucs, interval
from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.evaluation.part import Scores


@dataclass(frozen=True)
class Measured:
    """AUC by form, and its bootstrapped values; equal columns give equal resamples."""

    aucs: Mapping[str, float]
    draws: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, scores: Scores, columns: Columns) -> Measured:
        """From the logits [N] of every form."""
        draws = bootstrap_aucs(columns.labels, list(scores.values()), groups=columns.videos)
        aucs = {form: auc(columns.labels, values) for form, values in scores.items()}
        return cls(aucs, dict(zip(scores, draws, strict=True)))

    @classmethod
    def mean(cls, parts: Sequence[Measured]) -> Measured:
        """The means of several."""
        return cls(
            {form: float(np.mean([part.aucs[form] for part in parts])) for form in parts[0].aucs},
            {form: np.mean([part.draws[form] for part in parts], axis=0) for form in parts[0].aucs},
        )

    def figures(self, clean: Measured | None = None) -> dict[str, dict]:
        """By form its ``auc`` and, each as an AUC with a 95 % interval over videos: ``drop``, what a form
        loses against "float" here, and, where ``clean`` is given, ``loss``, what it loses against clean
        pictures, and ``extra_drop``, by how much ``drop`` is larger here than on clean pictures.
        """
        found: dict[str, dict] = {}
        for form in self.aucs:
            own = found[form] = _with_interval(*self._both(form))
            if clean is not None:
                own["loss"] = _with_interval(*_difference(clean._both(form), self._both(form)))
            if "float" in self.aucs and form != "float":
                own["drop"] = _with_interval(*self._drop(form))
                if clean is not None:
                    own["extra_drop"] = _with_interval(*_difference(self._drop(form), clean._drop(form)))
        return found

    def _both(self, form: str) -> tuple[float, np.ndarray]:
        return self.aucs[form], self.draws[form]

    def _drop(self, form: str) -> tuple[float, np.ndarray]:
        return _difference(self._both("float"), self._both(form))


def _difference(
    first: tuple[float, np.ndarray], second: tuple[float, np.ndarray]
) -> tuple[float, np.ndarray]:
    return first[0] - second[0], first[1] - second[1]


def _with_interval(value: float, draws: np.ndarray) -> dict:
    return {"auc": value, "auc_interval": list(interval(draws))}
