"""``make_table``: every cell that is not there yet, then the tables from all that are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from brevitas_defakeq.data.calibration import choose_calibration
from brevitas_defakeq.data.labelled_set import LabelledSet, check_labelled
from brevitas_defakeq.data.source_overlap import refuse_shared
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.evaluation.evaluate_run import score
from brevitas_defakeq.evaluation.predict import model_outputs
from brevitas_defakeq.evaluation.score_file import read_scores_together
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.run_inputs import found_device, require_preprocessing
from brevitas_defakeq.runtime.json_records import plain
from brevitas_defakeq.table.markdown import markdown
from brevitas_defakeq.table.method_models import MethodModel, MethodModels
from brevitas_defakeq.table.overview import overview
from brevitas_defakeq.table.table_cells import Cell, all_cells
from brevitas_defakeq.table.table_spec import TableSpec
from brevitas_defakeq.utils.files import write_bytes, write_json

_LOG = logging.getLogger(__name__)


def make_table(
    spec: TableSpec,
    out: str | Path,
    *,
    device: str = "cpu",
    workers: int = 2,
    on_progress: ProgressCallback = silent,
) -> dict:
    """Evaluate all cells of a table; those that OUT holds are not evaluated again.

    Args:
        out: a folder: ``cells/`` (a JSON each), ``scores/`` (a CSV each), ``runs/``, ``table.json`` and
            ``table.md``, which are written anew after every cell.
        device: "cpu" or "cuda", where runs are made and scored.
        workers: threads that read ahead.
        on_progress: called with ("table", cells done, total), and by ``quantize`` and ``score``.

    Returns:
        What ``table.json`` holds (``table.overview``). Raises UserError, before the first run, for names,
        weights and settings that are wrong, for data without both classes, and where OUT holds cells that
        were evaluated with other settings.
    """
    folder = Path(out)
    cells = all_cells(spec, folder)
    missing = [cell for cell in cells if cell.finished() is None]
    found_device(device)
    _check(missing)
    done = len(cells) - len(missing)
    on_progress("table", done, len(cells))
    for row in spec.detectors:
        models = MethodModels(spec, row, device, on_progress)
        for method in spec.methods:
            own = [cell for cell in missing if (cell.detector, cell.method) == (row, method)]
            if not own:
                continue
            made = models.made(method, own[0].run)
            for cell in own:
                _evaluate_cell(cell, models, made, workers)
                _write(spec, folder, cells)
                done += 1
                on_progress("table", done, len(cells))
    return _write(spec, folder, cells)


def _check(missing: Sequence[Cell]) -> None:
    """Refuse wrong names, weights and data before the first run."""
    for row in {cell.detector.label: cell.detector for cell in missing}.values():
        if resolve(row.name, weights=row.weights, **row.options).untrained:
            _LOG.warning("%s has random weights: its metrics are meaningless; give weights", row.label)
    calibrated = next((cell for cell in missing if cell.method.method != "float"), None)
    chosen = [] if calibrated is None else _calibration(calibrated)
    for cell in {cell.dataset: cell for cell in missing}.values():
        tests = cell.spec.test_data(cell.dataset)
        check_labelled(tests, cell.spec.datasets[cell.dataset])
        refuse_shared(chosen, tests, many_are=f"the data set {cell.dataset}")


def _calibration(cell: Cell) -> list[Sample]:
    """The images that will calibrate."""
    config = cell.spec.config(cell.method)
    return choose_calibration(cell.spec.calibration_data(), config.samples, seed=config.seed)


def _evaluate_cell(cell: Cell, models: MethodModels, made: MethodModel, workers: int) -> None:
    """Score a data set; keep scores and metrics."""
    data = LabelledSet.from_source(
        cell.spec.test_data(cell.dataset),
        require_preprocessing(models.detector),
        workers=workers,
    )
    model = made.model.to(models.device)
    outputs = model_outputs({cell.scores.stem: model}, models.observer, data.batches())
    score(outputs, data.samples, cell.scores.parent, models.on_progress)
    model.cpu()
    variant = "float" if cell.method.method == "float" else "method"
    frames, scores = read_scores_together({"float": cell.of_float().scores, variant: cell.scores})
    thresholds = {"float": 0.0, variant: made.threshold}
    metrics = summaries(frames, scores, thresholds, convention=cell.spec.convention)[variant]
    cell.finish(
        {
            "size_bytes": made.size_bytes, "float_bytes": models.float_bytes,
            "average_bits": made.average_bits, "figures": metrics, "untrained": models.detector.untrained,
            "provenance": provenance(cell.spec.config(cell.method).seed),
        }
    )  # fmt: skip


def _write(spec: TableSpec, folder: Path, cells: Sequence[Cell]) -> dict:
    """The tables from the cells that are there."""
    kept = [cell.finished() for cell in cells]
    found = overview(plain(asdict(spec)), [cell for cell in kept if cell is not None])
    write_json(folder / "table.json", found)
    write_bytes(folder / "table.md", markdown(found).encode())
    return found
