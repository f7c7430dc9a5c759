"""Options that the commands share: their types, help and groups, and the defaults."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, DefakeQConfig, Sensitivity

#: Defaults of the options that set a field of `DefakeQConfig`.
DEFAULTS = DefakeQConfig()
CANDIDATE_BITS = ",".join(f"{bits:g}" for bits in DEFAULTS.candidate_bits)
CACHE_MEMORY = f"{DEFAULT_CACHE_BYTES >> 30}GB"


def _group(title: str) -> Any:
    """``typer.Option`` for one group of the help."""
    return partial(typer.Option, rich_help_panel=title)


detector_option = _group("Detector")
variant_option = _group("Variant")
data_option = _group("Data")
method_option = _group("Budget and method")
faces_option = _group("Faces")
metrics_option = _group("Metrics")
latency_option = _group("Latency")
file_option = _group("File")
check_option = _group("Check")
run_option = _group("Run")
output_option = _group("Output")

# ------------------------------------------------------------------------------------------ detector

DetectorName = Annotated[
    str,
    typer.Argument(metavar="DETECTOR", help="ONNX file, folder, registry name, module:factory or timm name."),
]
Weights = Annotated[
    list[Path] | None,
    detector_option(
        metavar="FILE",
        help="Checkpoint (.safetensors, .pth, ...) or its folder; repeatable. No code in it is executed.",
    ),
]
IgnoreKeys = Annotated[
    list[str] | None,
    detector_option(
        metavar="PATTERN", help="Names in the checkpoint to leave out (criterion.*); repeatable."
    ),
]
RandomWeights = Annotated[
    bool, detector_option("--random-weights", help="Quantize an untrained detector, to try the tool out.")
]
FloatWeights = Annotated[
    list[Path] | None,
    variant_option(metavar="FILE", help="Float checkpoint, for --which float; repeatable."),
]
ModelArg = Annotated[
    list[str] | None,
    detector_option(metavar="KEY=VALUE", help="Argument for timm or the factory; repeatable."),
]
InputSize = Annotated[
    int | None, detector_option(metavar="PIXELS", help="Height and width of the detector's input.")
]
Interpolation = Annotated[
    Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "cv2_linear", "cv2_cubic"] | None,
    detector_option(help="Filter that resizes images."),
]
Mean = Annotated[
    str | None, detector_option(metavar="NUMBERS", help="Mean of the channels (0 to 1): one number or R,G,B.")
]
Std = Annotated[
    str | None,
    detector_option(metavar="NUMBERS", help="Standard deviation of the channels: one number or R,G,B."),
]
OutputKind = Annotated[
    Literal["auto", "logit", "softmax", "probability"] | None,
    detector_option(help="Kind of output that the detector returns; inferred unless given."),
]
FakeIndex = Annotated[int | None, detector_option(metavar="CLASS", help="Index of the fake class.")]
RealIndex = Annotated[
    int | None, detector_option(metavar="CLASS", help="Index of the real class, if all others are fake.")
]
FromQuantized = Annotated[
    bool,
    detector_option("--from-quantized", help="Take the weights of an ONNX file that is quantized already."),
]
Feature = Annotated[
    str | None,
    detector_option(metavar="MODULE", help="Module whose output is the feature to preserve."),
]

# ------------------------------------------------------------------------------------------ data

Samples = Annotated[int, data_option(metavar="N", help="Number of calibration images.")]
Compression = Annotated[
    Literal["raw", "c23", "c40"], data_option(help="Compression level of FaceForensics++ to read.")
]
DatasetNames = Annotated[
    list[str] | None,
    data_option("--dataset", metavar="NAME", help="Data set to read where a path holds several; repeatable."),
]
Root = Annotated[
    Path | None, data_option(metavar="FOLDER", help="Folder that holds the files listed in an index.")
]
OnCorrupt = Annotated[Literal["refuse", "skip"], data_option(help="Refuse unreadable images, or skip them.")]
Split = Annotated[Literal["train", "val", "test", "all"], data_option(help="Split of a benchmark to read.")]
Frames = Annotated[
    int | None,
    data_option(metavar="N", help="Maximum number of images per video (raw videos: 32 by default)."),
]
First = Annotated[
    bool,
    data_option(
        "--first", help="Read the first frames of a video, as DeepfakeBench does, not evenly spaced ones."
    ),
]

# ------------------------------------------------------------------------------------------ faces

FacesOption = Annotated[
    Literal["crop", "largest", "all"],
    faces_option(
        "--faces", help="Use images as face crops, or crop the largest face or all faces from them."
    ),
]
CropKind = Annotated[
    Literal["aligned", "box", "whole"] | None,
    faces_option("--crop", help="Method of cropping faces, if not the detector's own."),
]
CropMargin = Annotated[
    float, faces_option(metavar="SHARE", help="Margin on each side, as a share of the face box.")
]
CropsCache = Annotated[Path, faces_option(metavar="FOLDER", help="Folder that caches cropped faces.")]

# ------------------------------------------------------------------------------------------ method

AverageBits = Annotated[float, method_option(metavar="BITS", help="Budget: average bits per weight.")]
Budget = Annotated[
    list[str] | None,
    method_option(
        metavar="NAME=N",
        help="Limit: bytes=100kB of the file as it is sent; or lut, bram, dsp, cycles of a chip; repeatable.",
    ),
]
Costs = Annotated[
    Path | None, method_option(metavar="FILE", help="Costs for --budget, written by hw/costs.py.")
]
CandidateBits = Annotated[
    str, method_option(metavar="BITS,...", help="Bit-widths to choose from; 1.6 means three levels.")
]
ActivationBits = Annotated[
    int, method_option(metavar="BITS", help="Bit-width of activations, 2 to 16; 0 keeps them in float.")
]
Recipe = Annotated[
    Literal["best", "paper"],
    method_option(help="Preset of all settings: best results, or the paper's values."),
]
SensitivityOption = Annotated[
    Sensitivity,
    method_option(help="Sensitivity score that determines the bit-widths."),
]
TargetOption = Annotated[
    Literal["any", "mobile", "fpga"], method_option(help="Type of hardware that has to run the result.")
]
KeepFloat = Annotated[
    list[str] | None,
    method_option(metavar="NAME", help="Module to keep in float, or a pattern such as 'stem.*'; repeatable."),
]
ConfigFile = Annotated[
    Path | None,
    method_option(
        "--config", metavar="FILE",
        help="Settings as TOML or JSON, or a run's config.json. Options override them.",
    ),
]  # fmt: skip
Iterations = Annotated[
    int | None, method_option(metavar="N", help="Steps per block; the final pass scales with them.")
]

# ------------------------------------------------------------------------------------------ run and output

Device = Annotated[str, run_option(help="Device to compute on: cpu or cuda.")]
Seed = Annotated[
    int,
    run_option(min=0, max=2**32 - 1, metavar="N", help="Random seed; the same seed gives the same integers."),
]
Threads = Annotated[int | None, run_option(metavar="N", help="Number of CPU threads.")]
Workers = Annotated[int, run_option(min=0, metavar="N", help="Number of threads that read images ahead.")]
CacheMemory = Annotated[
    str, run_option(metavar="SIZE", help="Memory for captured activations; the rest goes to disk.")
]
RunOut = Annotated[
    Path, output_option(metavar="FOLDER", help="Run folder. The same command resumes an interrupted run.")
]
AsJson = Annotated[
    bool,
    output_option("--json", help="Print one JSON object to standard output; tables go to standard error."),
]
