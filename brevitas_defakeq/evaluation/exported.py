"""Figures of an exported file, run by onnxruntime as a device runs it."""

from collections.abc import Sequence
from pathlib import Path

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.convention import convention_named
from brevitas_defakeq.evaluation.forms import FileForms
from brevitas_defakeq.evaluation.labelled import labelled_samples
from brevitas_defakeq.evaluation.measure import figures_of
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.progress import ProgressCallback, silent


def evaluate_exported(
    model: str | Path,
    data: str | Path | Sequence[Sample],
    *,
    threads: int | None = None,
    against: str | Path | None = None,
    convention: str = "default",
    scores: Path | None = None,
    images: Read | None = None,
    no_face: int | None = None,
    on_progress: ProgressCallback = silent,
) -> dict:
    """The figures of ``evaluate_forms`` for a ``model.onnx`` with its card beside it.

    Args:
        data: labelled images: folder with ``real/`` and ``fake/``, CSV, or samples.
        threads: threads within an operator; None lets onnxruntime choose.
        against: another exported file, the float one: adds fidelity and the paired differences.
        convention, scores, images, no_face, on_progress: as in ``evaluate_forms``.

    Returns:
        The figures of the file, and in ``forms`` of "exported" and "float".
    """
    convention_named(convention)  # refused before anything runs
    forms = FileForms.of(model, against, threads)
    samples = labelled_samples(data)
    seen = forms.look(samples, images or read_sample)
    return figures_of(
        seen,
        samples,
        forms.thresholds,
        convention=convention,
        scores=scores,
        no_face=no_face,
        on_progress=on_progress,
    )
