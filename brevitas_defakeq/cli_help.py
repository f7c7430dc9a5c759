"""The class of the commands: help with the options in groups, and messages in the words of the options.

Groups are panels on a terminal, plain headings in a pipe or a file.
"""

import sys
from typing import Any

from typer.core import MarkupMode, TyperCommand

from brevitas_defakeq.cli_given import option_names
from brevitas_defakeq.cli_words import in_option_words
from brevitas_defakeq.utils.errors import UserError

#: Panels and colours are for terminals.
MARKUP_MODE: MarkupMode = "rich" if sys.stdout.isatty() else None


class GroupedCommand(TyperCommand):
    """A command with a heading for each ``rich_help_panel`` in plain help; its errors name options."""

    def invoke(self, ctx: Any) -> Any:  # Any: typer's own copy of click is private
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise UserError(in_option_words(str(error), option_names(self))) from error

    def format_options(self, ctx: Any, formatter: Any) -> None:
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
