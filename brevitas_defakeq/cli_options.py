"""Options that several commands share, and how their values are read."""

import math
from pathlib import Path
from typing import Annotated

import typer

from brevitas_defakeq.utils.errors import UserError

Name = Annotated[str, typer.Argument(metavar="DETECTOR", help="registry name, module:factory, or timm name")]
FloatWeights = Annotated[list[Path] | None, typer.Option(help="the float checkpoint, for --which float")]
Weights = Annotated[
    list[Path] | None, typer.Option(help="checkpoint: .safetensors, .pth, .pt, ...; no code is run")
]
Bits = Annotated[float, typer.Option(help="budget: average bits a weight")]
Candidates = Annotated[str, typer.Option(help="widths to choose from; 1.6 is three levels")]
ActivationBits = Annotated[int, typer.Option(help="2 to 16; 0 leaves activations in float")]
Recipe = Annotated[str, typer.Option(help="best, or paper")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="the same seed and thread count give the same integers")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on standard output, all else on stderr")]
Threads = Annotated[int | None, typer.Option(help="processor threads")]
ModelArg = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="passed to timm or the factory")
]
Size = Annotated[int | None, typer.Option(help="height and width of the input")]
Numbers = Annotated[str | None, typer.Option(help="one number, or three with commas")]
Interpolation = Annotated[str | None, typer.Option(help="how images are resized: bilinear, bicubic, ...")]
Output = Annotated[str | None, typer.Option(help="what the detector returns: logit, softmax, probability")]
FakeIndex = Annotated[int | None, typer.Option(help="which class means fake")]
Feature = Annotated[str | None, typer.Option(metavar="MODULE", help="module whose output is the feature")]
Split = Annotated[str, typer.Option(help="of a benchmark: test, val, train or all")]
Compression = Annotated[str, typer.Option(help="of FaceForensics++: raw, c23 or c40")]
Datasets = Annotated[list[str] | None, typer.Option("--dataset", help="of several that lie at the path")]
Frames = Annotated[int | None, typer.Option(help="of a video at most; raw videos: 32")]
First = Annotated[bool, typer.Option("--first", help="a video's first frames, as DeepfakeBench; else spread")]
Root = Annotated[Path | None, typer.Option(help="folder that holds the files an index names")]
FacesOption = Annotated[
    str, typer.Option("--faces", help="crop: pictures are crops; largest or all: faces are cut out")
]
CropKind = Annotated[str | None, typer.Option("--crop", help="how faces are cut out: aligned, box or whole")]
CropMargin = Annotated[float, typer.Option(help="share of the box added on each side")]
CropsCache = Annotated[Path, typer.Option(help="folder that keeps faces that were cut out")]
Budget = Annotated[
    list[str] | None, typer.Option("--budget", metavar="NAME=N", help="of a chip: lut, bram, dsp, cycles")
]
Costs = Annotated[Path | None, typer.Option(metavar="FILE", help="of hw/costs.py, for --budget")]
Workers = Annotated[int, typer.Option(min=0, help="threads that read ahead")]


def numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UserError(f"{option} {text!r}: give numbers separated by commas")
    return tuple(int(value) if value == int(value) else value for value in values)


def triple(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    values = numbers(text, option)
    if len(values) not in (1, 3):
        raise UserError(f"{option} {text!r}: give one number or three")
    return values * 3 if len(values) == 1 else values


def budgets(given: list[str] | None) -> dict[str, float]:
    """``["lut=40000,bram=100", "dsp=50"]`` as numbers by name."""
    found: dict[str, float] = {}
    for part in ",".join(given or []).split(",") if given else []:
        name, _, value = part.strip().partition("=")
        try:
            limit = float(value)
        except ValueError:
            raise UserError(f"--budget {part!r}: give NAME=NUMBER, as in lut=40000,bram=100") from None
        if name in found:
            raise UserError(f"--budget {name} is given twice")
        found[name] = limit
    return found


def byte_count(text: str) -> int:
    units = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "b": 1}
    lowered = text.strip().lower()
    for suffix, unit in units.items():
        if lowered.endswith(suffix):
            try:
                return int(float(lowered.removesuffix(suffix)) * unit)
            except ValueError:
                break
    raise UserError(f"--cache-memory {text!r}: give a size such as 500MB or 2GB")


def set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    import torch

    torch.set_num_threads(threads)


def selection_of(split, compression, datasets, frames, first, root):
    """Which part of a data set the options ask for."""
    from brevitas_defakeq.data.selection import Selection

    return Selection(split, compression, tuple(datasets or ()), frames, first, root)


def crop_of(kind: str | None, margin: float):
    """The crop that the options name, or None."""
    from brevitas_defakeq.imaging.crop import Crop

    return None if kind is None else Crop(kind, margin)
