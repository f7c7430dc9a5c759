"""``evaluate``: figures of a quantized detector on a labelled data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.convention import convention_named
from brevitas_defakeq.evaluation.exported import evaluate_exported
from brevitas_defakeq.evaluation.forms import RunForms
from brevitas_defakeq.evaluation.labelled import LabelledSet
from brevitas_defakeq.evaluation.measure import figures_of
from brevitas_defakeq.evaluation.observe import look
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector


def evaluate(
    run: "str | Path | QuantizedDetector",
    data: str | Path | Sequence[Sample] | LabelledSet,
    *,
    which: str = "quantized",
    float_model: nn.Module | None = None,
) -> dict:
    """AUC (frame and video) with its interval, accuracy, EER, AP and the rest of one form of a detector.

    Args:
        run: a run folder, what ``quantize`` or ``load`` returned, or an exported ``model.onnx``.
        data: labelled images: folder with ``real/`` and ``fake/``, CSV, samples, or (for no file) a
            ``LabelledSet``.
        which: "quantized" (M_q), "mixed" (M_q^v) or "float".
        float_model: the float detector, for ``which="float"``: a run folder does not hold its weights.

    Returns:
        What ``evaluation.summary.summaries`` says of one form.
    """
    if isinstance(run, str | Path) and Path(run).suffix == ".onnx":
        return evaluate_exported(run, data)["forms"]["exported"]
    return evaluate_forms(run, data, (which,), float_model=float_model)["forms"][which]


def evaluate_forms(
    run: "str | Path | QuantizedDetector",
    data: str | Path | Sequence[Sample] | LabelledSet,
    which: Sequence[str] = ("float", "quantized", "mixed"),
    *,
    float_model: nn.Module | None = None,
    convention: str = "default",
    scores: Path | None = None,
    images: Read | None = None,
    workers: int = 2,
    no_face: int | None = None,
    on_progress: ProgressCallback = silent,
) -> dict:
    """Several forms of a run on the same images, each read once and let go.

    Args:
        which: of "float", "quantized", "mixed"; with "float" the others get ``fidelity`` and ``drop``.
        convention: "default", or "deepfakebench" for that benchmark's choices.
        scores: a folder for the scores of each form, ``<form>.csv``.
        images: how a sample's picture is come by; None reads its file.
        workers: threads that read ahead.
        no_face: frames that had no face and so are not in the data, if known.
        on_progress: called with ("score", done, total).

    Returns:
        At the top the figures of "quantized" (or "mixed", or "float", whichever is there first), ``form``,
        which one that is, and ``forms``, the figures of each.
    """
    convention_named(convention)  # refused before anything runs
    forms = RunForms.of(run, which, float_model)
    if not isinstance(data, LabelledSet):
        data = LabelledSet.from_source(data, forms.feeding(), read=images or read_sample, workers=workers)
    return figures_of(
        look(forms.models, forms.observer, data.batches()), data.samples, forms.thresholds,
        convention=convention, scores=scores, no_face=no_face, on_progress=on_progress,
    )  # fmt: skip
