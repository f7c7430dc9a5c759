"""The commands about data: evaluate, table, datasets."""

from pathlib import Path
from typing import Annotated

import typer

from brevitas_defakeq.cli_options import (
    Compression,
    CropKind,
    CropMargin,
    CropsCache,
    Datasets,
    FacesOption,
    First,
    FloatWeights,
    Frames,
    Json,
    Root,
    Seed,
    Split,
    Threads,
    Workers,
    crop_of,
    numbers,
    selection_of,
    set_threads,
)
from brevitas_defakeq.utils.errors import UserError

datasets = typer.Typer(help="Data sets and layouts that are understood; check looks at one.")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN|MODEL.onnx", help="run folder, or an exported file")],
    data: Annotated[str | None, typer.Option(metavar="DATA", help="labelled images or videos")] = None,
    which: Annotated[
        str, typer.Option(help="of a run: quantized, mixed, float, or several: a,b")
    ] = "quantized",
    weights: FloatWeights = None,
    convention: Annotated[str, typer.Option(help="default, or deepfakebench")] = "default",
    perturb: Annotated[
        str | None, typer.Option(metavar="NAMES", help="all, or some: robustness curves")
    ] = None,
    levels: Annotated[str, typer.Option(help="of perturbations, 1 mild to 5 severe")] = "1,2,3,4,5",
    scores: Annotated[Path | None, typer.Option(help="folder for each form's scores as CSV")] = None,
    split: Split = "test",
    compression: Compression = "c23",
    datasets: Datasets = None,
    frames: Frames = None,
    first: First = False,
    root: Root = None,
    faces: FacesOption = "crop",
    crop: CropKind = None,
    crop_margin: CropMargin = 0.0,
    crops_cache: CropsCache = Path("crops"),
    latency: Annotated[bool, typer.Option("--latency", help="time an exported file, batch 1")] = False,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the float ONNX file: to take turns and to compare with"),
    ] = None,
    workers: Workers = 2,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Figures on labelled data, of a run or an exported file; robustness; --latency times the file."""
    from brevitas_defakeq.data.open_source import FaceOptions, open_source
    from brevitas_defakeq.evaluate.labelled import check_labelled
    from brevitas_defakeq.report.evaluation_report import curves_table, evaluation_tables
    from brevitas_defakeq.report.terminal import latencies, show, stages
    from brevitas_defakeq.runtime.latency import latency as latency_of

    exported = run.suffix == ".onnx"
    if (latency or against) and not exported:
        raise UserError("--latency and --against are for exported files; give a model.onnx that export wrote")
    if data is None and not latency:
        raise UserError("give --data with labelled images" + ", or --latency" * exported)
    chosen = selection_of(split, compression, datasets, frames, first, root)
    found, tables = {}, []
    if latency:
        found["latency"] = latency_of([against, run] if against else [run], threads=threads or 1)
        tables.append(latencies(found["latency"]))
    if data is not None:
        with stages() as on_progress:
            subject = _subject(run, which, weights, against, threads)
            crop = crop_of(crop, crop_margin) or subject.crop
            opened = open_source(
                data, chosen, FaceOptions(faces, crops_cache), crop=crop, on_progress=on_progress
            )
            check_labelled(opened.samples, data)
            options = {"workers": workers, "on_progress": on_progress}
            if perturb is not None:
                names = perturb if perturb == "all" else perturb.split(",")
                degrees = numbers(levels, "--levels")
                found |= subject.curves(opened, names, degrees, seed=seed, **options)
                tables.append(curves_table(found))
            else:
                found |= subject.figures(opened, convention=convention, scores=scores, **options)
                tables += evaluation_tables(found)
    show(found, *tables, as_json=as_json)


def _subject(path: Path, which: str, weights, against: Path | None, threads: int | None):
    from brevitas_defakeq.evaluate.subject import FileSubject, RunSubject

    if path.suffix == ".onnx":
        return FileSubject(path, against, threads)
    set_threads(threads)  # torch's; an exported file's runtime has its own
    return RunSubject.of(path, tuple(which.split(",")), weights)


def table(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="detectors, data sets, methods")],
    out: Annotated[Path, typer.Option(help="folder; start again to go on after an interruption")],
    device: Annotated[str, typer.Option(help="cpu, or cuda for a graphics card")] = "cpu",
    workers: Workers = 2,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Detectors x data sets x methods into one table, Markdown and JSON, in the form of the paper's."""
    from brevitas_defakeq.report.evaluation_report import overview_table
    from brevitas_defakeq.report.terminal import show, stages
    from brevitas_defakeq.table.make_table import make_table
    from brevitas_defakeq.table.table_spec_file import read_spec

    set_threads(threads)
    with stages() as on_progress:
        found = make_table(read_spec(spec), out, device=device, workers=workers, on_progress=on_progress)
    show(found, overview_table(found), as_json=as_json)


@datasets.callback(invoke_without_command=True)
def _datasets(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        from brevitas_defakeq.data.known_datasets import describe_datasets
        from brevitas_defakeq.report.dataset_report import dataset_tables
        from brevitas_defakeq.report.terminal import show

        described = describe_datasets()
        show(described, *dataset_tables(described), as_json=as_json)


@datasets.command()
def check(
    path: Annotated[str, typer.Argument(metavar="PATH", help="folder, CSV, index or shards")],
    calibration: Annotated[str | None, typer.Option(metavar="DATA", help="what is calibrated with")] = None,
    split: Split = "all",
    compression: Compression = "c23",
    names: Datasets = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """What lies there: counts, what is missing, what is shared, and what besides the face tells the label."""
    from brevitas_defakeq.data.check import check_source
    from brevitas_defakeq.report.dataset_report import findings_tables
    from brevitas_defakeq.report.terminal import show

    found = check_source(
        path, selection_of(split, compression, names, None, False, root), calibration=calibration
    )
    show(found, *findings_tables(found), as_json=as_json)
