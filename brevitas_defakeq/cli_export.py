"""The help of ``defakeq export``, which lists the registered formats."""

from typing import Any

from typer.core import TyperCommand

from brevitas_defakeq.export.formats import ExportFormat, export_formats


class ExportCommand(TyperCommand):
    """Lists the formats below the options, those of other installed packages too."""

    def get_help(self, ctx: Any) -> str:  # Any: a context of click or of typer's own copy, by typer's version
        self.epilog = formats_help()
        return super().get_help(ctx)


def formats_help() -> str:
    """A paragraph for each format: what it writes, with which variants, options and package."""
    return "\n\n".join(["Formats:", *map(_paragraph, export_formats())])


def _paragraph(format: ExportFormat) -> str:
    options = [f"--{name}" for name in ("pixels", "storage", "runtime", "check") if format.takes(name)]
    needs = f"; needs {format.package}" if format.package else ""
    return f"{format.name}: {format.description}{needs} ({', '.join([*format.variants, *options])})"
