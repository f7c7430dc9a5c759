"""Runs as files for other runtimes: `export` and the registry of formats."""

from brevitas_defakeq.export.formats import ExportFormat, export, export_formats, register_format

__all__ = ["ExportFormat", "export", "export_formats", "register_format"]
