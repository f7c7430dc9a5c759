"""The export formats: what each one writes, which variants and options it takes, and which package it needs.

A new format is one file that holds its exporter and one entry: a ``register_format`` call at the end of this
file or in your own code, or an `ExportFormat` in the entry-point group ``brevitas_defakeq.export_formats`` of
your package, which the command line finds too. Nothing here imports torch.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.variants import QUANTIZED_VARIANTS, VARIANTS

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from brevitas_defakeq.artifact import QuantizedDetector
    from brevitas_defakeq.runtime.card import Card

    Exporter = Callable[..., Card | dict[str, Any]]

ENTRY_POINTS = "brevitas_defakeq.export_formats"


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """One format. A callable may be given as "module:name", which is imported on first use.

    Attributes:
        name: what ``--format`` and the card call it.
        description: what is written and what runs it, in a few words, for the help.
        exporter: ``exporter(result, out, *, variant, verify, **options)`` writes the files into the folder
            ``out`` and returns the card, or the content of the JSON file that takes its place.
        variants: of "quantized", "mixed" and "float".
        options: names of the exporter's other keyword arguments; each has a default.
        table: makes a ``rich`` table of what the exporter returned, as JSON.
        check: ``check(result, variant, *, as_json)`` prints what the format cannot hold (``--check``); raises
            UserError if there is any. None: there is no such check.
        package: importable package that the exporter needs, or "".
        extra: the extra of brevitas_defakeq that installs it, or "".
    """

    name: str
    description: str
    exporter: Exporter | str
    variants: tuple[str, ...] = QUANTIZED_VARIANTS
    options: tuple[str, ...] = ("licence",)
    table: Callable[[dict[str, Any]], Table] | str = "brevitas_defakeq.report.terminal:card_table"
    check: Callable[..., None] | str | None = None
    package: str = ""
    extra: str = ""

    def __post_init__(self) -> None:
        if not set(self.variants) <= set(VARIANTS):
            raise UserError(f"{self.name}: variants={self.variants!r}: give a tuple of {', '.join(VARIANTS)}")

    def require(self, variant: str, options: Iterable[str] = ()) -> None:
        """Raises UserError for a variant or an option that the format does not take."""
        if variant not in self.variants:
            raise UserError(f"variant={variant!r}: choose of {', '.join(self.variants)}")
        for option in options:
            if not self.takes(option):
                others = [known.name for known in export_formats() if known.takes(option)]
                if not others:
                    raise UserError(f"no export format has an option {option!r}; leave it out")
                raise UserError(f"--{option} is for --format {' or '.join(others)}, not {self.name}")

    def takes(self, option: str) -> bool:
        """Whether the exporter has this option; "check" is one."""
        return option in self.options or (option == "check" and self.check is not None)

    def require_package(self) -> None:
        """Raises UserError if the package that the exporter needs is not installed."""
        if self.package and not _installed(self.package):
            source = f"brevitas_defakeq[{self.extra}]" if self.extra else self.package
            raise UserError(
                f"{self.name} needs {self.package}: pip install '{source}', best in an environment of its own"
            )

    def load_exporter(self) -> Exporter:
        """The exporter, imported if need be."""
        return self._resolved(self.exporter)

    def run_check(self, result: QuantizedDetector, variant: str, *, as_json: bool) -> None:
        """Print what the format cannot hold; raises UserError if there is any."""
        self._resolved(self.check)(result, variant, as_json=as_json)

    def render(self, content: dict[str, Any]) -> Table:
        """What `export` returned, as a table."""
        return self._resolved(self.table)(content)

    def _resolved(self, reference: Callable[..., Any] | str | None) -> Callable[..., Any]:
        """A callable, or the one that "module:name" refers to; UserError if there is none."""
        try:
            found = resolve_name(reference) if isinstance(reference, str) else reference
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"export format {self.name}: {reference!r} cannot be imported: {error}"
            ) from error
        if not callable(found):
            raise UserError(f"export format {self.name}: {reference!r} cannot be called; give a function")
        return found


_FORMATS: dict[str, ExportFormat] = {}


def register_format(format: ExportFormat) -> ExportFormat:
    """Make a format known to `export` and the command line; returns it. UserError if the name is taken."""
    if _FORMATS.setdefault(format.name, format) is not format:
        raise UserError(f"an export format {format.name!r} is registered already; choose another name")
    return format


def export_formats() -> tuple[ExportFormat, ...]:
    """All formats, those of other installed packages last."""
    _register_entry_points()
    return tuple(_FORMATS.values())


def format_names() -> list[str]:
    """The names of all formats."""
    return [format.name for format in export_formats()]


def get_format(name: str) -> ExportFormat:
    """The format of a name; UserError lists the names there are."""
    if name not in _FORMATS and name not in format_names():
        raise UserError(f"format={name!r}: choose of {', '.join(format_names())}")
    return _FORMATS[name]


def export(
    result: QuantizedDetector,
    out: str | Path,
    format: str = "onnx",
    *,
    variant: str = "quantized",
    verify: Tensor | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write a run in a registered format into the folder ``out``.

    Args:
        result: what ``quantize`` returned or ``load`` read.
        format: a name of `format_names`.
        variant: "quantized" (M_q), "mixed" (M_q^v) or, where the format takes it, "float".
        verify: preprocessed images [N, 3, H, W] on which file and model have to agree; None skips the check.
        options: what else the format takes (``ExportFormat.options``), as ``licence="MIT"``.

    Returns:
        the content of the card, or of the JSON file that takes its place.

    Raises:
        UserError: unknown format, variant or option; a missing package; a detector that the format cannot
            hold; a file that disagrees with the model. Nothing is written then.
    """
    chosen = get_format(format)
    chosen.require(variant, options)
    chosen.require_package()
    written = chosen.load_exporter()(result, out, variant=variant, verify=verify, **options)
    if written is None:
        raise UserError(
            f"export format {format}: its exporter returned nothing; return the card or a dictionary"
        )
    return written if isinstance(written, dict) else written.to_json()


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


@cache
def _register_entry_points() -> None:
    """Register the formats of other installed packages; one that cannot be loaded is warned of."""
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            register_format(entry.load())
        except Exception as error:  # whatever another package raises
            logging.getLogger(__name__).warning("export format %s cannot be used: %s", entry.name, error)


register_format(ExportFormat(
    name="onnx", description="model.onnx for ONNX Runtime, weights packed at their own bit-widths",
    exporter="brevitas_defakeq.export.onnx:export_onnx", variants=VARIANTS,
    options=("licence", "storage", "pixels", "compress", "runtime", "float_model"),
))  # fmt: skip
register_format(ExportFormat(
    name="qonnx", description="model.onnx with a Quant node for each quantizer",
    exporter="brevitas_defakeq.export.qonnx:export_qonnx", package="qonnx", extra="fpga",
))  # fmt: skip
register_format(ExportFormat(
    name="executorch", description="model.pte for ExecuTorch with XNNPACK",
    exporter="brevitas_defakeq.export.executorch:EXECUTORCH", package="executorch", extra="executorch",
))  # fmt: skip
register_format(ExportFormat(
    name="litert", description="model.tflite for LiteRT (TensorFlow Lite)",
    exporter="brevitas_defakeq.export.litert:LITERT", package="litert_torch", extra="litert",
))  # fmt: skip
register_format(ExportFormat(
    name="coreml", description="model.mlpackage for iOS 18 and macOS 15",
    exporter="brevitas_defakeq.export.coreml:COREML", package="coremltools", extra="coreml",
))  # fmt: skip
register_format(ExportFormat(
    name="finn", description="model.onnx, the integer core for FINN, and host.json",
    exporter="brevitas_defakeq.export.finn.export_finn:export_finn", options=(),
    table="brevitas_defakeq.report.finn_report:host_table",
    check="brevitas_defakeq.report.finn_report:check_mapping", package="qonnx", extra="fpga",
))  # fmt: skip
register_format(ExportFormat(
    name="transformersjs", description="onnx/model_q3.onnx in the folder that came in, for transformers.js",
    exporter="brevitas_defakeq.export.transformersjs:export_transformersjs",
    options=("licence", "storage", "runtime"),
))  # fmt: skip
