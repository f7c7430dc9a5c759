"""The commands: parse, call, print."""

import logging
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from brevitas_defakeq import __version__, cli_data
from brevitas_defakeq.cli_options import (
    ActivationBits,
    Bits,
    Budget,
    Candidates,
    Compression,
    Costs,
    CropKind,
    CropMargin,
    CropsCache,
    Datasets,
    FacesOption,
    FakeIndex,
    Feature,
    FloatWeights,
    Interpolation,
    Json,
    ModelArg,
    Name,
    Numbers,
    Output,
    Recipe,
    Root,
    Seed,
    Size,
    Threads,
    Weights,
    budgets,
    byte_count,
    crop_of,
    numbers,
    selection_of,
    set_threads,
    triple,
)
from brevitas_defakeq.utils.errors import UserError


class _Interrupted(Exception):
    """Ctrl-C, under a name that typer does not handle on its own (it would end with status 0)."""


class _Commands(TyperGroup):
    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


app = typer.Typer(
    help="Deepfake detectors at about a tenth of their size (DeFakeQ on Brevitas).", cls=_Commands,
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="run folder")] = Path("defakeq-demo"),
    average_bits: Bits = 3.0,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """The main job on what the package ships: a small detector of drawn faces, its images and its test."""
    from brevitas_defakeq.demo import run_demo
    from brevitas_defakeq.report.terminal import comparison, show, stages

    set_threads(threads)
    with stages() as on_progress:
        report = run_demo(out, average_bits=average_bits, seed=seed, on_progress=on_progress)
    show(report, comparison(report), as_json=as_json)


@app.command()
def quantize(
    detector: Name,
    calibration: Annotated[str, typer.Option(metavar="DATA", help="folder or CSV of face crops")],
    out: Annotated[Path, typer.Option(help="run folder; start again to go on after an interruption")],
    weights: Weights = None,
    average_bits: Annotated[float | None, typer.Option(help="budget: bits a weight; 3 unless given")] = None,
    budget: Budget = None,
    costs: Costs = None,
    candidate_bits: Candidates = "2,3,4,6,8",
    activation_bits: ActivationBits = 8,
    recipe: Recipe = "best",
    sensitivity: Annotated[str, typer.Option(help="haq, taylor or measured")] = "haq",
    target: Annotated[str, typer.Option(help="any, mobile or fpga")] = "any",
    samples: Annotated[int, typer.Option(help="calibration images used")] = 256,
    iterations: Annotated[int | None, typer.Option(help="steps a block; also scales the last pass")] = None,
    test: Annotated[str | None, typer.Option(metavar="DATA", help="labelled data to report on")] = None,
    max_auc_drop: Annotated[
        float | None, typer.Option(help="instead of a budget: the smallest that loses at most this AUC")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="labelled data on which that is judged")
    ] = None,
    compression: Compression = "c23",
    datasets: Datasets = None,
    root: Root = None,
    faces: FacesOption = "crop",
    crop: CropKind = None,
    crop_margin: CropMargin = 0.0,
    crops_cache: CropsCache = Path("crops"),
    on_corrupt: Annotated[
        str, typer.Option(help="refuse, or skip, unreadable calibration images")
    ] = "refuse",
    model_arg: ModelArg = None,
    input_size: Size = None,
    interpolation: Interpolation = None,
    mean: Numbers = None,
    std: Numbers = None,
    output: Output = None,
    fake_index: FakeIndex = None,
    feature: Feature = None,
    cache_memory: Annotated[str, typer.Option(help="activations kept in memory; more go to disk")] = "2GB",
    device: Annotated[str, typer.Option(help="cpu, or cuda for a graphics card")] = "cpu",
    seed: Seed = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Quantize a trained detector with a few hundred face crops."""
    from brevitas_defakeq import api
    from brevitas_defakeq.budget_search import quantize_within
    from brevitas_defakeq.data.open_source import Faces, open_source
    from brevitas_defakeq.evaluate.labelled import check_labelled
    from brevitas_defakeq.report.terminal import comparison, show, stages

    set_threads(threads)
    searched = max_auc_drop is not None
    if searched != (validation is not None) or (searched and (average_bits is not None or budget)):
        raise UserError("--max-auc-drop goes with --validation, and takes the place of any budget")
    config = _config(
        recipe, average_bits, candidate_bits, activation_bits, target, samples, seed, sensitivity, budget
    )
    config = _with_iterations(config, iterations)
    resolved = _resolve(
        detector, weights, model_arg, input_size, interpolation, mean, std, output, fake_index, feature
    )
    resolved = replace(resolved, crop=crop_of(crop, crop_margin) or resolved.crop)
    cutting = Faces(faces, crops_cache)
    with stages() as on_progress:

        def opened(source: str | None, split: str, *, labelled: bool = True):
            if source is None:
                return None
            chosen = selection_of(split, compression, datasets, None, False, root)
            samples = open_source(
                source, chosen, cutting, crop=resolved.crop, on_corrupt=on_corrupt, on_progress=on_progress
            ).samples
            if labelled:
                check_labelled(samples, source)
            return samples

        options = {
            "test": opened(test, "test"), "out": out, "on_corrupt": on_corrupt, "device": device,
            "costs": costs, "cache_memory": byte_count(cache_memory), "on_progress": on_progress,
        }  # fmt: skip
        calibrating = opened(calibration, "train", labelled=False)
        if not searched:
            result = api.quantize(resolved, calibrating, config, **options)
        else:
            judging = opened(validation, "val")
            result = quantize_within(
                resolved, calibrating, config, max_auc_drop=max_auc_drop, validation=judging, **options
            )
    show(result.report, comparison(result.report), as_json=as_json)


@app.command()
def inspect(
    detector: Annotated[str, typer.Argument(metavar="DETECTOR|RUN", help="detector, or a run folder")],
    weights: Weights = None,
    average_bits: Bits = 3.0,
    candidate_bits: Candidates = "2,3,4,6,8",
    activation_bits: ActivationBits = 8,
    recipe: Recipe = "best",
    samples: Annotated[int, typer.Option(help="calibration images that will be used")] = 256,
    iterations: Annotated[int | None, typer.Option(help="steps a block")] = None,
    model_arg: ModelArg = None,
    input_size: Size = None,
    interpolation: Interpolation = None,
    mean: Numbers = None,
    std: Numbers = None,
    output: Output = None,
    fake_index: FakeIndex = None,
    feature: Feature = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """The dry run: layers, what stays float and why, size and time to expect."""
    from brevitas_defakeq.report.inspection_report import inspect_detector, inspect_run, inspection_table
    from brevitas_defakeq.report.terminal import show

    set_threads(threads)
    if (Path(detector) / "config.json").exists():
        found = inspect_run(Path(detector))
    else:
        config = _config(recipe, average_bits, candidate_bits, activation_bits, "any", samples, 0, "haq")
        resolved = _resolve(
            detector, weights, model_arg, input_size, interpolation, mean, std, output, fake_index, feature
        )
        found = inspect_detector(resolved, _with_iterations(config, iterations))
    show(found, inspection_table(found), as_json=as_json)


app.command()(cli_data.evaluate)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder")],
    out: Annotated[
        Path | None, typer.Option(help="folder for the model's file and model_card.json or host.json")
    ] = None,
    format: Annotated[str, typer.Option(help="onnx, qonnx, finn, executorch, litert or coreml")] = "onnx",
    which: Annotated[str, typer.Option(help="quantized, mixed, or float to compare with")] = "quantized",
    storage: Annotated[str, typer.Option(help="packed: weights at their own width; int8: larger")] = "packed",
    pixels: Annotated[
        bool, typer.Option("--pixels", help="preprocess in the graph: uint8 RGB of any size in, P(fake) out")
    ] = False,
    runtime: Annotated[str | None, typer.Option(help="oldest onnxruntime to support, as in 1.18")] = None,
    weights: FloatWeights = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="images to check the file on")] = None,
    verify: Annotated[bool, typer.Option(help="refuse to write a file that disagrees")] = True,
    licence: Annotated[str | None, typer.Option(help="of the source weights, for the card")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="of finn: list what cannot be mapped and why; writes nothing")
    ] = False,
    as_json: Json = False,
) -> None:
    """A run as a small file that runs on integers, with its model card."""
    from brevitas_defakeq.artifact import load, load_float
    from brevitas_defakeq.export.finn.export_finn import export_finn
    from brevitas_defakeq.export.mobile import export_mobile
    from brevitas_defakeq.export.onnx import export_onnx
    from brevitas_defakeq.export.qonnx import export_qonnx
    from brevitas_defakeq.export.verification_images import verification_images
    from brevitas_defakeq.report.finn_report import check_mapping, host_table
    from brevitas_defakeq.report.terminal import card_table, show

    if format != "onnx" and (pixels or runtime or storage != "packed"):
        raise UserError("--pixels, --runtime and --storage are for --format onnx")
    if check and format != "finn":
        raise UserError("--check is for --format finn")
    if out is None and not check:
        raise UserError("give --out, the folder to write to")
    result = load(run)
    if check:
        check_mapping(result, which, as_json=as_json)
        return
    images = verification_images(result, data) if verify else None
    if format == "onnx":
        card = export_onnx(
            result, out, form=which, storage=storage, pixels=pixels, runtime=runtime, verify=images,
            licence=licence, float_model=load_float(result, weights) if which == "float" else None,
        )  # fmt: skip
    elif format == "qonnx":
        card = export_qonnx(result, out, form=which, verify=images, licence=licence)
    elif format == "finn":
        host = export_finn(result, out, variant=which, verify=images)
        show(host, host_table(host), as_json=as_json)
        return
    else:
        card = export_mobile(result, out, format=format, form=which, verify=images, licence=licence)
    show(card.to_json(), card_table(card.to_json()), as_json=as_json)


@app.command()
def detectors(as_json: Json = False) -> None:
    """Detectors known by name."""
    from brevitas_defakeq.detectors.registry import describe
    from brevitas_defakeq.report.terminal import detector_table, show

    rows = list(describe())
    show({"detectors": rows}, detector_table(rows), as_json=as_json)


app.command()(cli_data.table)
app.add_typer(cli_data.datasets, name="datasets")


def _config(
    recipe, average_bits, candidate_bits, activation_bits, target, samples, seed, sensitivity, budget=None
):
    from brevitas_defakeq.config import DefakeQConfig

    config = DefakeQConfig.for_recipe(
        recipe, average_bits=average_bits, candidate_bits=numbers(candidate_bits, "--candidate-bits"),
        activation_bits=activation_bits or None, target=target, samples=samples, seed=seed,
        budget=budgets(budget),
    )  # fmt: skip
    return replace(config, haq=replace(config.haq, sensitivity=sensitivity))


def _with_iterations(config, iterations: int | None):
    """Steps a block; the last pass is scaled along, so that a quick run is quick as a whole."""
    if iterations is None:
        return config
    work = config.reconstruction
    steps = min(config.final.steps, max(1, round(config.final.steps * iterations / max(1, work.iterations))))
    return replace(
        config, reconstruction=replace(work, iterations=iterations),
        final=replace(config.final, steps=steps if config.final.steps else 0),
    )  # fmt: skip


def _resolve(name, weights, model_arg, input_size, interpolation, mean, std, output, fake_index, feature):
    from brevitas_defakeq.detectors.resolve import parse_model_args, resolve

    return resolve(
        name, weights=weights, model_args=parse_model_args(model_arg or []), input_size=input_size,
        interpolation=interpolation, mean=triple(mean, "--mean"), std=triple(std, "--std"), output=output,
        fake_index=fake_index, feature=feature,
    )  # fmt: skip


def main() -> None:
    """Exit status 0; 2 with one line for what the user can mend; 130 after Ctrl-C; 1 for our own failure."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    _silence_libraries()
    try:
        app(standalone_mode=False)
    except UserError as error:
        _stop(str(error), 2)
    except (KeyboardInterrupt, _Interrupted):
        _stop("interrupted; the same command goes on where it stopped", 130)
    except OSError as error:
        if error.errno != 28:  # no space left on device
            raise
        _stop(f"the disk is full ({error.filename or 'temporary files'}); free space and start again", 2)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option or argument
            _stop(error.format_message(), 2)
        raise


def _silence_libraries() -> None:
    """What torch and Brevitas have to say about themselves is not for the user (``python -W`` shows it)."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a toolkit without a GPU


def _stop(message: str, status: int) -> None:
    print(f"defakeq: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
