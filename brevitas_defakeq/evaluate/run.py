"""``evaluate``: figures of a quantized detector on a labelled data set."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.evaluate.compare import labelled
from brevitas_defakeq.evaluate.exported import evaluate_exported
from brevitas_defakeq.evaluate.labelled import LabelledSet
from brevitas_defakeq.evaluate.observe import observe_all

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector


def evaluate(
    run: "str | Path | QuantizedDetector",
    data: str | Path | LabelledSet,
    *,
    which: str = "quantized",
    float_model: nn.Module | None = None,
) -> dict:
    """AUC (frame and video) with its interval, accuracy, EER and AP of one form of a detector.

    Args:
        run: a run folder, what ``quantize`` or ``load`` returned, or an exported ``model.onnx``.
        data: labelled images: folder with ``real/`` and ``fake/``, CSV, or (for no file) a ``LabelledSet``.
        which: "quantized" (M_q), "mixed" (M_q^v) or "float".
        float_model: the float detector, for ``which="float"``: a run folder does not hold its weights.

    Returns:
        ``auc``, ``auc_interval``, ``accuracy`` (at the run's threshold), ``eer``, ``ap``, ``n``,
        ``video_auc``, ``per_dataset``.
    """
    if isinstance(run, str | Path) and Path(run).suffix == ".onnx":
        return evaluate_exported(run, data)
    if which not in ("quantized", "mixed", "float"):
        raise UserError(f"which={which!r}: choose quantized, mixed or float")
    if which == "float" and float_model is None:
        raise UserError("a run holds no float weights; give float_model=")
    if isinstance(run, str | Path):
        from brevitas_defakeq.artifact import load

        run = load(run)
    if not isinstance(data, LabelledSet):
        if run.preprocessing is None:
            raise UserError("this run was made from tensors and knows no preprocessing; give a LabelledSet")
        data = LabelledSet.from_source(data, run.preprocessing)
    model = float_model.eval() if which == "float" else getattr(run, which)
    seen = observe_all({which: model}, run.observer, data.batches())[which]
    return labelled(seen.scores, run.report["threshold"][which], data.samples)
