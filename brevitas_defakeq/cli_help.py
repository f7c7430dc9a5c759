"""Help screens with the options in groups: panels on a terminal, plain headings in a pipe or a file."""

import sys
from typing import Any

from typer.core import MarkupMode, TyperCommand

#: Panels and colours are for terminals.
MARKUP_MODE: MarkupMode = "rich" if sys.stdout.isatty() else None


class GroupedCommand(TyperCommand):
    """A command whose plain help has a heading for each ``rich_help_panel``."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # Any: typer's own copy of click is private
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            default = "Arguments" if parameter.param_type_name == "argument" else "Options"
            group = getattr(parameter, "rich_help_panel", None) or default
            row = parameter.get_help_record(ctx)
            if row is not None:
                groups.setdefault(group, []).append(row)
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)
