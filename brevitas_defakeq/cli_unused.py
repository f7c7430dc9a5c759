"""Options that do nothing beside the others, or for the data: refused, or said in a warning."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from brevitas_defakeq.cli_given import given, refuse_unused, say_unused

if TYPE_CHECKING:
    from brevitas_defakeq.imaging.preprocessing import Preprocessing

#: Options of ``evaluate`` that describe data, or what is measured on them.
_NEED_DATA = (
    "split", "compression", "datasets", "root", "frames", "first", "on_corrupt", "faces", "crop",
    "crop_margin", "crops_cache", "convention", "perturb", "levels", "workers", "seed", "scores",
)  # fmt: skip


def refuse_margin_alone(context: typer.Context, crop: str | None) -> None:
    """A margin belongs to a crop around a face. Raises UserError."""
    if crop is None or crop == "whole":
        refuse_unused(context, ["crop_margin"], "goes with --crop aligned or --crop box")


def refuse_unused_in_evaluation(
    context: typer.Context, exported: bool, variants: Sequence[str], data: str | None, perturb: str | None
) -> None:
    """What ``evaluate`` would not use. Raises UserError.

    Args:
        exported: a file is evaluated, not a run.
        variants: of the run.
        data, perturb: what is measured.
    """
    if exported:
        refuse_unused(context, ["which", "weights"], "is for run folders; a file holds one variant")
    if "float" not in variants:
        refuse_unused(context, ["weights"], "goes with --which float; the other variants are in the run")
    if data is None:
        refuse_unused(context, _NEED_DATA, "is for labelled images; give --data")
    if perturb is None:
        refuse_unused(context, ["levels", "seed"], "is for perturbations; give --perturb")
    else:
        refuse_unused(context, ["convention", "scores"], "is not for --perturb, which gives curves of AUC")


def say_unused_filter(context: typer.Context, preprocessing: "Preprocessing | None") -> None:
    """Warn of a filter for a detector that does not resize."""
    if preprocessing is not None and preprocessing.fit == "centre":
        say_unused(
            context, ["interpolation"], "this detector crops the centre of an image without resizing it"
        )


def say_unused_data_options(
    context: typer.Context, sources: Iterable[str | None], datasets: list[str] | None
) -> None:
    """Warn of options that select from benchmarks and videos, where none of the sources has any."""
    from brevitas_defakeq.data.layout import LayoutKind, recognise

    typed = given(context)
    if not typed.keys() & {"root", "compression", "split", "first", "crops_cache", "crop"}:
        return
    layouts = [recognise(Path(source), datasets or ()) for source in sources if source is not None]
    kinds = {layout.kind for layout in layouts}
    compressed = any(folder.dataset.compressed for layout in layouts for folder in layout.folders)
    if LayoutKind.INDEX not in kinds:
        say_unused(context, ["root"], "no source is a DeepfakeBench index")
        if not compressed:
            say_unused(context, ["compression"], "no source is FaceForensics++ or a part of it")
    if kinds <= {LayoutKind.CLASSES, LayoutKind.PLAIN, LayoutKind.SHARDS}:
        say_unused(context, ["split"], "folders and shards have no splits")
    if LayoutKind.VIDEOS not in kinds and typed.get("faces", "crop") == "crop":
        unused = ["crops_cache"] + ["crop"] * ("which" in context.params)  # a run's report keeps --crop
        say_unused(context, unused, "images are taken as face crops; --faces largest crops them")
        if "frames" not in typed:
            say_unused(context, ["first"], "without --frames all images are read")
