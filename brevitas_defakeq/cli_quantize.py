"""The commands that quantize, or show what quantizing would do: demo, quantize, inspect."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brevitas_defakeq.cli_given import refuse_unused
from brevitas_defakeq.cli_options import (
    CACHE_MEMORY,
    CANDIDATE_BITS,
    DEFAULTS,
    ActivationBits,
    AsJson,
    AverageBits,
    Budget,
    CacheMemory,
    CandidateBits,
    Compression,
    ConfigFile,
    Costs,
    CropKind,
    CropMargin,
    CropsCache,
    DatasetNames,
    DetectorName,
    Device,
    FacesOption,
    FakeIndex,
    Feature,
    FromQuantized,
    IgnoreKeys,
    InputSize,
    Interpolation,
    Iterations,
    KeepFloat,
    Mean,
    ModelArg,
    OnCorrupt,
    OutputKind,
    RandomWeights,
    RealIndex,
    Recipe,
    Root,
    RunOut,
    Samples,
    Seed,
    SensitivityOption,
    Std,
    TargetOption,
    Threads,
    Weights,
    data_option,
    method_option,
)
from brevitas_defakeq.cli_settings import config_of, say_other_run
from brevitas_defakeq.cli_unused import refuse_margin_alone, say_unused_data_options, say_unused_filter
from brevitas_defakeq.cli_values import byte_budget, byte_count, crop_of, selection_of, set_threads, triple
from brevitas_defakeq.config import DEFAULT_AVERAGE_BITS, DEFAULT_CROPS_CACHE
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.detectors.resolve import Detector
    from brevitas_defakeq.imaging.sample import Sample


def demo(
    out: RunOut = Path("defakeq-demo"),
    average_bits: AverageBits = DEFAULT_AVERAGE_BITS,
    seed: Seed = DEFAULTS.seed,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Quantize and test a small built-in detector of drawn faces."""
    from brevitas_defakeq.demo import run_demo
    from brevitas_defakeq.report.terminal import run_tables, show, stages

    set_threads(threads)
    with stages() as on_progress:
        report = run_demo(out, average_bits=average_bits, seed=seed, on_progress=on_progress)
    show(report, *run_tables(report), as_json=as_json)


def quantize(
    context: typer.Context,
    detector: DetectorName,
    *,
    weights: Weights = None,
    ignore_keys: IgnoreKeys = None,
    random_weights: RandomWeights = False,
    model_arg: ModelArg = None,
    input_size: InputSize = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    output: OutputKind = None,
    fake_index: FakeIndex = None,
    real_index: RealIndex = None,
    feature: Feature = None,
    from_quantized: FromQuantized = False,
    calibration: Annotated[
        str, data_option(metavar="DATA", help="Face crops to calibrate with: a folder, CSV or data set.")
    ],
    samples: Samples = DEFAULTS.samples,
    test: Annotated[
        str | None, data_option(metavar="DATA", help="Labelled data to report metrics on.")
    ] = None,
    validation: Annotated[
        str | None, data_option(metavar="DATA", help="Labelled data on which --max-auc-drop must hold.")
    ] = None,
    compression: Compression = "c23",
    datasets: DatasetNames = None,
    root: Root = None,
    on_corrupt: OnCorrupt = "refuse",
    faces: FacesOption = "crop",
    crop: CropKind = None,
    crop_margin: CropMargin = 0.0,
    crops_cache: CropsCache = DEFAULT_CROPS_CACHE,
    average_bits: Annotated[
        float | None,
        method_option(
            metavar="BITS",
            help=f"Budget: average bits per weight; {DEFAULT_AVERAGE_BITS:g} if no budget is given.",
        ),
    ] = None,
    budget: Budget = None,
    costs: Costs = None,
    max_auc_drop: Annotated[
        float | None,
        method_option(
            metavar="AUC",
            help="Find the smallest budget that loses at most this much AUC (with --validation).",
        ),
    ] = None,
    candidate_bits: CandidateBits = CANDIDATE_BITS,
    activation_bits: ActivationBits = DEFAULTS.activation_bits or 0,
    recipe: Recipe = DEFAULTS.recipe,
    sensitivity: SensitivityOption = DEFAULTS.haq.sensitivity,
    target: TargetOption = DEFAULTS.target,
    iterations: Iterations = None,
    keep_float: KeepFloat = None,
    config: ConfigFile = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = DEFAULTS.seed,
    cache_memory: CacheMemory = CACHE_MEMORY,
    out: RunOut,
    as_json: AsJson = False,
) -> None:
    """Quantize a trained detector with a few hundred face crops."""
    from brevitas_defakeq import api
    from brevitas_defakeq.budget_search import quantize_within
    from brevitas_defakeq.data.labelled_set import check_labelled
    from brevitas_defakeq.data.open_source import FaceOptions, open_source
    from brevitas_defakeq.report.terminal import run_tables, show, stages
    from brevitas_defakeq.size_search import quantize_to_size

    set_threads(threads)
    _require_one_budget(max_auc_drop, validation, average_bits, budget)
    max_bytes = byte_budget(budget)
    if max_bytes is not None and average_bits is not None:
        raise UserError("--budget bytes= finds the average bits; leave --average-bits out")
    refuse_margin_alone(context, crop)
    settings = config_of(context)
    found = _detector(
        detector, weights=weights, ignore_keys=ignore_keys, model_arg=model_arg, input_size=input_size,
        interpolation=interpolation, mean=mean, std=std, output=output, fake_index=fake_index,
        real_index=real_index, feature=feature, seed=seed, from_quantized=from_quantized,
    )  # fmt: skip
    if found.untrained and not random_weights:
        raise UserError(
            f"{found.name} has random weights; give a trained checkpoint by --weights, "
            "or --random-weights to try the tool out"
        )
    found = replace(found, crop=crop_of(crop, crop_margin) or found.crop)
    say_other_run(config, found)
    say_unused_filter(context, found.preprocessing)

    with stages() as on_progress:

        def opened(source: str, split: str) -> "Sequence[Sample]":
            return open_source(
                source, selection_of(split, compression, datasets, root=root),
                FaceOptions(faces, crops_cache), crop=found.crop, on_corrupt=on_corrupt,
                on_progress=on_progress,
            ).samples  # fmt: skip

        def labelled(source: str, split: str) -> "Sequence[Sample]":
            listed = opened(source, split)
            check_labelled(listed, source)
            return listed

        test_samples = None if test is None else labelled(test, "test")
        calibration_samples = opened(calibration, "train")
        say_unused_data_options(context, [calibration, test, validation], datasets)
        run = partial(api.quantize, costs=costs)
        if max_bytes is not None:
            refuse_unused(context, ["costs"], "is for a chip's --budget")
            run = partial(quantize_to_size, max_bytes=max_bytes)
        if max_auc_drop is not None and validation is not None:
            run = partial(
                quantize_within, max_auc_drop=max_auc_drop, validation=labelled(validation, "val"),
                costs=costs,
            )  # fmt: skip
        result = run(
            found, calibration_samples, settings, test=test_samples, out=out, on_corrupt=on_corrupt,
            device=device, cache_memory=byte_count(cache_memory), on_progress=on_progress,
        )  # fmt: skip
    show(result.report, *run_tables(result.report), as_json=as_json)


def inspect(
    context: typer.Context,
    detector: Annotated[
        str, typer.Argument(metavar="DETECTOR|RUN", help="Detector as for quantize, or a run folder.")
    ],
    *,
    weights: Weights = None,
    ignore_keys: IgnoreKeys = None,
    model_arg: ModelArg = None,
    input_size: InputSize = None,
    interpolation: Interpolation = None,
    mean: Mean = None,
    std: Std = None,
    output: OutputKind = None,
    fake_index: FakeIndex = None,
    real_index: RealIndex = None,
    feature: Feature = None,
    from_quantized: FromQuantized = False,
    samples: Samples = DEFAULTS.samples,
    average_bits: AverageBits = DEFAULT_AVERAGE_BITS,
    candidate_bits: CandidateBits = CANDIDATE_BITS,
    activation_bits: ActivationBits = DEFAULTS.activation_bits or 0,
    recipe: Recipe = DEFAULTS.recipe,
    iterations: Iterations = None,
    keep_float: KeepFloat = None,
    config: ConfigFile = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Show layers, what stays float, expected size and time.

    Nothing is quantized. For a run folder, show the bit-width of each layer instead of the time.
    """
    from brevitas_defakeq.detectors.side_files import names_architecture
    from brevitas_defakeq.report.inspection_report import inspect_detector, inspect_run, inspection_table
    from brevitas_defakeq.report.terminal import show

    set_threads(threads)
    if (Path(detector) / "config.json").exists() and not names_architecture(Path(detector)):
        unused = set(context.params) - {"detector", "threads", "as_json"}
        refuse_unused(
            context, sorted(unused), f"is for detectors; {detector} is a run, which has its settings"
        )
        content = inspect_run(Path(detector))
    else:
        found = _detector(
            detector, weights=weights, ignore_keys=ignore_keys, model_arg=model_arg, input_size=input_size,
            interpolation=interpolation, mean=mean, std=std, output=output, fake_index=fake_index,
            real_index=real_index, feature=feature, seed=DEFAULTS.seed, from_quantized=from_quantized,
        )  # fmt: skip
        say_other_run(config, found)
        say_unused_filter(context, found.preprocessing)
        content = inspect_detector(found, config_of(context))
    show(content, inspection_table(content), as_json=as_json)


def _require_one_budget(
    max_auc_drop: float | None, validation: str | None, average_bits: float | None, budget: list[str] | None
) -> None:
    searched = max_auc_drop is not None
    if searched != (validation is not None) or (searched and (average_bits is not None or budget)):
        raise UserError("--max-auc-drop goes with --validation, and takes the place of any budget")


def _detector(
    name: str,
    *,
    weights: list[Path] | None,
    ignore_keys: list[str] | None,
    model_arg: list[str] | None,
    input_size: int | None,
    interpolation: str | None,
    mean: str | None,
    std: str | None,
    output: str | None,
    fake_index: int | None,
    real_index: int | None,
    feature: str | None,
    seed: int,
    from_quantized: bool,
) -> "Detector":
    """The detector that the options describe, with its weights."""
    from brevitas_defakeq.detectors.resolve import parse_model_args, resolve

    return resolve(
        name, weights=weights, model_args=parse_model_args(model_arg or []), input_size=input_size,
        interpolation=interpolation, mean=triple(mean, "--mean"), std=triple(std, "--std"), output=output,
        fake_index=fake_index, real_index=real_index, feature=feature, ignore_keys=ignore_keys or (),
        seed=seed, from_quantized=from_quantized,
    )  # fmt: skip
