"""The commands about data: evaluate, table, datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from brevitas_defakeq.cli_help import GroupedCommand
from brevitas_defakeq.cli_options import (
    AsJson,
    Compression,
    CropKind,
    CropMargin,
    CropsCache,
    DatasetNames,
    Device,
    FacesOption,
    First,
    FloatWeights,
    Frames,
    OnCorrupt,
    Root,
    Split,
    Threads,
    Workers,
    data_option,
    latency_option,
    metrics_option,
    output_option,
    run_option,
    variant_option,
)
from brevitas_defakeq.cli_unused import (
    refuse_margin_alone,
    refuse_unused_in_evaluation,
    say_unused_data_options,
)
from brevitas_defakeq.cli_values import crop_of, numbers, selection_of, set_threads
from brevitas_defakeq.config import DEFAULT_CROPS_CACHE
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.evaluation.predictors import Predictor

datasets_app = typer.Typer(help="List known data sets and layouts, or check a data source.")


def evaluate(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.onnx", help="Run folder, or a file that export wrote.")
    ],
    *,
    which: Annotated[
        str,
        variant_option(
            metavar="VARIANT,...", help="Variants of a run to evaluate: quantized, mixed, float or several."
        ),
    ] = "quantized",
    weights: FloatWeights = None,
    data: Annotated[str | None, data_option(metavar="DATA", help="Labelled images or videos.")] = None,
    split: Split = "test",
    compression: Compression = "c23",
    datasets: DatasetNames = None,
    root: Root = None,
    frames: Frames = None,
    first: First = False,
    on_corrupt: OnCorrupt = "refuse",
    faces: FacesOption = "crop",
    crop: CropKind = None,
    crop_margin: CropMargin = 0.0,
    crops_cache: CropsCache = DEFAULT_CROPS_CACHE,
    convention: Annotated[
        Literal["default", "deepfakebench"], metrics_option(help="Definitions of the metrics.")
    ] = "default",
    perturb: Annotated[
        str | None,
        metrics_option(metavar="NAME,...", help="Perturbations for robustness curves: names, or all."),
    ] = None,
    levels: Annotated[
        str, metrics_option(metavar="N,...", help="Levels of the perturbations, 1 (mild) to 5 (severe).")
    ] = "1,2,3,4,5",
    latency: Annotated[
        bool, latency_option("--latency", help="Time an exported file, one image at a time.")
    ] = False,
    against: Annotated[
        Path | None,
        latency_option(metavar="FILE", help="Float ONNX file to compare latency and metrics with."),
    ] = None,
    threads: Threads = None,
    workers: Workers = 2,
    seed: Annotated[
        int, run_option(min=0, max=2**32 - 1, metavar="N", help="Random seed of the perturbations.")
    ] = 0,
    scores: Annotated[
        Path | None, output_option(metavar="FOLDER", help="Folder for the scores of each variant, as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a run or an exported file on labelled data.

    Reports metrics with confidence intervals; --perturb gives robustness curves, --latency times a file.
    """
    from brevitas_defakeq.data.labelled_set import check_labelled
    from brevitas_defakeq.data.open_source import FaceOptions, open_source
    from brevitas_defakeq.evaluation.evaluate_run import evaluate_variants
    from brevitas_defakeq.evaluation.robustness import robustness
    from brevitas_defakeq.imaging.image_files import without_broken
    from brevitas_defakeq.report.evaluation_report import curves_table, evaluation_tables
    from brevitas_defakeq.report.terminal import latencies, show, stages
    from brevitas_defakeq.runtime.latency import latency as latency_of
    from brevitas_defakeq.runtime.onnx_file import is_model_file

    exported = is_model_file(run)
    if (latency or against) and not exported:
        raise UserError("--latency and --against are for exported files; give a model.onnx that export wrote")
    if data is None and not latency:
        raise UserError("give --data with labelled images" + ", or --latency" * exported)
    refuse_unused_in_evaluation(context, exported, which.split(","), data, perturb)
    refuse_margin_alone(context, crop)
    chosen = selection_of(split, compression, datasets, frames, first, root)
    say_unused_data_options(context, [data], datasets)
    found, tables = {}, []
    if latency:
        found["latency"] = latency_of([against, run] if against else [run], threads=threads or 1)
        tables.append(latencies(found["latency"]))
    if data is not None:
        with stages() as on_progress:
            predictor = _predictor(run, which, weights, against, threads)
            cut = crop_of(crop, crop_margin) or predictor.crop
            opened = open_source(
                data, chosen, FaceOptions(faces, crops_cache), crop=cut, on_corrupt=on_corrupt,
                on_progress=on_progress,
            )  # fmt: skip
            check_labelled(opened.samples, data)
            samples = without_broken(opened.samples) if on_corrupt == "skip" else opened.samples
            if perturb is not None:
                names = perturb if perturb == "all" else perturb.split(",")
                degrees = numbers(levels, "--levels")
                found |= robustness(
                    predictor, samples, names, degrees, seed=seed, workers=workers,
                    on_progress=on_progress,
                )  # fmt: skip
                tables.append(curves_table(found))
            else:
                found |= evaluate_variants(
                    predictor, samples, convention=convention, scores=scores, no_face=opened.no_face,
                    workers=workers, on_progress=on_progress,
                )  # fmt: skip
                tables += evaluation_tables(found)
    show(found, *tables, as_json=as_json)


def _predictor(
    path: Path, which: str, weights: list[Path] | None, against: Path | None, threads: int | None
) -> "Predictor":
    """The exported file, or the variants of the run; their weights are loaded."""
    from brevitas_defakeq.artifact import load, load_float
    from brevitas_defakeq.evaluation.predictors import FilePredictor, RunPredictor
    from brevitas_defakeq.runtime.onnx_file import is_model_file

    if is_model_file(path):
        return FilePredictor.of(path, against, threads)
    set_threads(threads)  # torch's; onnxruntime takes its own
    run, variants = load(path), which.split(",")
    return RunPredictor.of(run, variants, load_float(run, weights) if "float" in variants else None)


def table(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="Description of detectors, data sets and methods.")
    ],
    *,
    metric: Annotated[
        Literal["auc", "flips"],
        metrics_option(help="Metric to show: AUC, or verdicts changed against float. The files hold both."),
    ] = "auc",
    device: Device = "cpu",
    threads: Threads = None,
    workers: Workers = 2,
    out: Annotated[
        Path,
        output_option(
            metavar="FOLDER", help="Folder for the table. The same command resumes an interrupted run."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Evaluate detectors, data sets and methods into one table.

    Writes the table as Markdown and JSON.
    """
    from brevitas_defakeq.report.evaluation_report import overview_table
    from brevitas_defakeq.report.terminal import show, stages
    from brevitas_defakeq.table.make_table import make_table
    from brevitas_defakeq.table.table_spec_file import read_spec

    set_threads(threads)
    with stages() as on_progress:
        found = make_table(read_spec(spec), out, device=device, workers=workers, on_progress=on_progress)
    show(found, overview_table(found, metric), as_json=as_json)


@datasets_app.callback(invoke_without_command=True)
def _datasets(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        from brevitas_defakeq.data.known_datasets import describe_datasets
        from brevitas_defakeq.report.dataset_report import dataset_tables
        from brevitas_defakeq.report.terminal import show

        described = describe_datasets()
        show(described, *dataset_tables(described), as_json=as_json)


@datasets_app.command(cls=GroupedCommand)
def check(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Folder, CSV, index or shards to check.")],
    *,
    calibration: Annotated[
        str | None, data_option(metavar="DATA", help="Calibration data, which must share no image with it.")
    ] = None,
    compression: Compression = "c23",
    names: DatasetNames = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Check a data source for missing and shared files and for leaks.

    Counts images, videos and labels, lists missing files, finds images shared with the calibration data, and
    reports cues other than the face, such as file size, that reveal the label.
    """
    from brevitas_defakeq.data.check import check_source
    from brevitas_defakeq.report.dataset_report import findings_tables
    from brevitas_defakeq.report.terminal import show

    selection = selection_of("all", compression, names, root=root)
    say_unused_data_options(context, [path, calibration], names)
    found = check_source(path, selection, calibration=calibration)
    show(found, *findings_tables(found), as_json=as_json)
