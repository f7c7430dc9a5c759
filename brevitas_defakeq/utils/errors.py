"""The exception for errors that the user can fix, and how other errors are cited in it."""


class UserError(Exception):
    """Bad input: one line that says what was given, what is allowed and what to change.

    The commands print it and exit with status 2; a traceback never reaches the user.
    """


def one_line(error: BaseException) -> str:
    """The message of an error with its lines joined, or the class of one without; at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def first_line(error: BaseException) -> str:
    """`one_line` of the message's first line: torch, FINN and the converters append a trace or a report."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split())[:300] if lines else type(error).__name__
