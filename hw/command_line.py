"""Argument parsing shared by the commands of this folder."""

import argparse
import contextlib
from typing import NoReturn

from brevitas_defakeq.utils.errors import UserError


class OneLineErrorParser(argparse.ArgumentParser):
    """Raises UserError instead of printing usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options")


def rate(text: str) -> float:
    """Parse a value of --fps, frames per second."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text}: frames per second must be a number above 0")
