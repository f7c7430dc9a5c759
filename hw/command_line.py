"""What the commands of this folder share: options, and errors of one line."""

import argparse
import contextlib

from brevitas_defakeq.utils.errors import UserError


class OneLineErrorParser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        raise UserError(f"{message}; --help lists the options")


def rate(text: str) -> float:
    """A value of --fps."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text}: frames a second are a number above 0")
