"""``evaluate``: metrics of a run or an exported file on a labelled data set.

Data flow one way: a predictor yields outputs, which become scores, metrics of subsets, and a summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from brevitas_defakeq.data.labelled_set import LabelledSet, labelled_samples
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.conventions import convention_named
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.predict import Observed, Outputs, collect, with_progress
from brevitas_defakeq.evaluation.predictors import FilePredictor, Predictor, RunPredictor
from brevitas_defakeq.evaluation.score_file import write_scores
from brevitas_defakeq.evaluation.summary import summarize
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.runtime.onnx_file import is_model_file
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector


def evaluate(
    run: str | Path | QuantizedDetector,
    data: str | Path | Sequence[Sample] | LabelledSet,
    *,
    variant: str = "quantized",
    float_model: nn.Module | None = None,
) -> dict[str, Any]:
    """AUC (frame and video) with its interval, accuracy, EER, AP and more of one variant of a detector.

    Args:
        run: a run folder, what ``quantize`` or ``load`` returned, or an exported ``model.onnx`` or
            ``model.onnx.gz``.
        data: labelled images: folder with ``real/`` and ``fake/``, CSV, samples, or a ``LabelledSet``.
        variant: "quantized" (M_q), "mixed" (M_q^v) or "float"; not used for an exported file.
        float_model: the float detector, for "float": a run folder does not hold its weights.

    Returns:
        What ``evaluation.summary.summaries`` returns for one variant.
    """
    if isinstance(run, str | Path) and is_model_file(Path(run)):
        return evaluate_variants(FilePredictor.of(run), data)["forms"]["exported"]
    predictor = RunPredictor.of(run, (variant,), float_model)
    return evaluate_variants(predictor, data)["forms"][variant]


def evaluate_variants(
    predictor: Predictor,
    data: str | Path | Sequence[Sample] | LabelledSet,
    *,
    convention: str = "default",
    scores: Path | None = None,
    images: Read = read_sample,
    workers: int = 2,
    no_face: int | None = None,
    on_progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """All variants of a predictor on the same images, each read once.

    Args:
        data: as for ``evaluate``; a ``LabelledSet`` only for a run.
        convention: "default", or "deepfakebench" for that benchmark's definitions.
        scores: a folder for the scores of each variant, ``<variant>.csv``.
        images: gives a sample's image, 8-bit RGB.
        workers: threads that read ahead.
        no_face: frames that had no face and so are not in the data, if known.
        on_progress: called with ("score", images done, total).

    Returns:
        The metrics of the predictor's first variant; ``form``, its name; and ``forms``, the metrics of each.
        With "float" among them the others have ``fidelity`` and ``drop``.
    """
    convention_named(convention)  # refused before anything runs
    if not isinstance(data, LabelledSet):
        samples = labelled_samples(data)
        outputs = predictor.outputs(samples, images, workers)
    elif isinstance(predictor, RunPredictor):
        samples, outputs = data.samples, predictor.outputs_of(data)
    else:
        raise UserError("an exported file prepares its images itself; give a folder, a CSV or samples")
    observed = score(outputs, samples, scores, on_progress)
    found = summarize(
        observed, predictor.thresholds, FrameTable.from_samples(samples), convention=convention,
        no_face=no_face,
    )  # fmt: skip
    first = next(iter(found))
    return {**found[first], "form": first, "forms": found}


def score(
    outputs: Iterable[Outputs], samples: Sequence[Sample], folder: Path | None, on_progress: ProgressCallback
) -> dict[str, Observed]:
    """All scores by variant; written to ``FOLDER/<variant>.csv`` batch by batch, where a folder is given."""
    written = outputs if folder is None else write_scores(outputs, samples, folder)
    return collect(with_progress(written, len(samples), on_progress))
