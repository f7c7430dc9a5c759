"""The exception for errors that the user can fix."""


class UserError(Exception):
    """Bad input: one line that says what was given, what is allowed and what to change.

    The commands print it and exit with status 2; a traceback never reaches the user.
    """
