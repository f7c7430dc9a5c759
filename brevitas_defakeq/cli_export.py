"""The command ``defakeq export``; its help lists the registered formats."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from brevitas_defakeq.cli_given import refuse_unused
from brevitas_defakeq.cli_help import GroupedCommand
from brevitas_defakeq.cli_options import (
    AsJson,
    FloatWeights,
    check_option,
    file_option,
    output_option,
    variant_option,
)
from brevitas_defakeq.export.formats import ExportFormat, export_formats, format_names, get_format
from brevitas_defakeq.export.formats import export as export_run
from brevitas_defakeq.utils.errors import UserError


class ExportCommand(GroupedCommand):
    """Lists the formats below the options, those of other installed packages too."""

    def get_help(self, ctx: Any) -> str:  # Any: typer's own copy of click is private
        self.epilog = formats_help()
        return super().get_help(ctx)


def formats_help() -> str:
    """A paragraph for each format: what it writes, with which variants, options and package."""
    return "\n\n".join(["Formats:", *map(_paragraph, export_formats())])


def _paragraph(format: ExportFormat) -> str:
    named = ("pixels", "storage", "compress", "runtime", "check")
    options = [f"--{name}" for name in named if format.takes(name)]
    needs = f"; needs {format.package}" if format.package else ""
    return f"{format.name}: {format.description}{needs} ({', '.join([*format.variants, *options])})"


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    *,
    which: Annotated[
        Literal["quantized", "mixed", "float"], variant_option(help="Variant to export.")
    ] = "quantized",
    weights: FloatWeights = None,
    format: Annotated[
        str,
        file_option(
            metavar="FORMAT", help="File format, one of those listed below.", autocompletion=format_names
        ),
    ] = "onnx",
    storage: Annotated[
        Literal["packed", "int8"],
        file_option(help="Weights packed at their own bit-widths, or one byte each (larger)."),
    ] = "packed",
    pixels: Annotated[
        bool,
        file_option("--pixels", help="Preprocess in the graph: uint8 RGB of any size in, P(fake) out."),
    ] = False,
    compress: Annotated[
        bool,
        file_option("--compress", help="Write model.onnx.gz instead: the fewest bytes to send."),
    ] = False,
    runtime: Annotated[
        str | None, file_option(metavar="VERSION", help="Oldest onnxruntime to support, such as 1.18.")
    ] = None,
    licence: Annotated[
        str | None, file_option(metavar="NAME", help="Licence of the source weights, for the model card.")
    ] = None,
    data: Annotated[
        str | None,
        check_option(metavar="DATA", help="Images on which the file has to agree with the model."),
    ] = None,
    verify: Annotated[
        bool, check_option(help="Refuse to write a file that disagrees with the model.")
    ] = True,
    check: Annotated[
        bool, check_option("--check", help="List what the format cannot hold and why; write nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        output_option(metavar="FOLDER", help="Folder for the model file and its model_card.json."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export a run as an integer model file with its model card."""
    defaults = {"storage": "packed", "pixels": False, "compress": False, "runtime": None, "licence": None}
    options = {
        "storage": storage, "pixels": pixels, "compress": compress, "runtime": runtime, "licence": licence,
    }  # fmt: skip
    given: dict[str, Any] = {name: value for name, value in options.items() if value != defaults[name]}
    chosen = get_format(format)
    chosen.require(which, [*given, *(["check"] if check else [])])
    if which != "float":
        refuse_unused(context, ["weights"], "goes with --which float; the other variants are in the run")
    if check:
        refuse_unused(context, ["data", "verify", *given], "is for files; --check writes none")
    if not verify:
        refuse_unused(context, ["data"], "is what the file is verified on; leave --no-verify out")
    if out is None and not check:
        raise UserError("give --out, the folder to write to")
    chosen.require_package()

    from brevitas_defakeq.artifact import load, load_float
    from brevitas_defakeq.export.verification_images import verification_images
    from brevitas_defakeq.report.terminal import show

    result = load(run)
    if out is None or check:
        chosen.run_check(result, which, as_json=as_json)
        return
    if which == "float":
        given["float_model"] = load_float(result, weights)
    images = verification_images(result, data) if verify else None
    content = export_run(result, out, format, variant=which, verify=images, **given)
    show(content, chosen.render(content), as_json=as_json)
