"""The command ``defakeq``: its subcommands, its messages and its exit status."""

import errno
import logging
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from brevitas_defakeq import __version__, cli_data, cli_export, cli_quantize
from brevitas_defakeq.cli_export import ExportCommand
from brevitas_defakeq.cli_help import MARKUP_MODE, GroupedCommand
from brevitas_defakeq.cli_options import AsJson
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger("brevitas_defakeq")


class _Interrupted(Exception):
    """Ctrl-C, under a name that typer does not handle on its own (it would end with status 0)."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:  # Any: typer's own copy of click is private
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


app = typer.Typer(
    help="Quantize deepfake detectors to about a tenth of their size (DeFakeQ on Brevitas).", cls=_Commands,
    rich_markup_mode=MARKUP_MODE, pretty_exceptions_enable=False,
)  # fmt: skip


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an unexpected error.")
    ] = False,
) -> None:
    if debug:
        _LOG.setLevel(logging.DEBUG)
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command(cls=GroupedCommand)(cli_quantize.demo)
app.command(cls=GroupedCommand)(cli_quantize.quantize)
app.command(cls=GroupedCommand)(cli_quantize.inspect)
app.command(cls=GroupedCommand)(cli_data.evaluate)
app.command(cls=ExportCommand)(cli_export.export)


@app.command(cls=GroupedCommand)
def detectors(as_json: AsJson = False) -> None:
    """List the detectors known by name."""
    from brevitas_defakeq.detectors.registry import describe
    from brevitas_defakeq.report.terminal import detector_table, show

    rows = list(describe())
    show({"detectors": rows}, detector_table(rows), as_json=as_json)


app.command(cls=GroupedCommand)(cli_data.table)
app.add_typer(cli_data.datasets_app, name="datasets")


def main() -> None:
    """Run a command. Exit status: 0; 2 for a `UserError` or a wrong option; 130 after Ctrl-C; 1 for a bug."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    _silence_libraries()
    try:
        app(standalone_mode=False)
    except UserError as error:
        _stop(str(error), 2)
    except (KeyboardInterrupt, _Interrupted):
        _stop("interrupted; the same command goes on where it stopped", 130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _stop(f"the disk is full ({error.filename or 'temporary files'}); free space and start again", 2)
        if hasattr(error, "format_message"):  # a wrong option or argument
            _stop(error.format_message().replace("Value error, ", ""), 2)  # a prefix of typer's
        _LOG.debug("unexpected error", exc_info=True)
        _stop(
            f"unexpected {type(error).__name__}: {error}; `defakeq --debug COMMAND ...` shows where; "
            "please report it in the project's issue tracker",
            1,
        )


def _silence_libraries() -> None:
    """Hide the warnings of torch and Brevitas about themselves; ``python -W`` shows them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a toolkit without a GPU


def _stop(message: str, status: int) -> NoReturn:
    print(f"defakeq: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
