"""The one exception that bad input raises."""


class InputError(ValueError):
    """Bad input from the user: one line that names the value and the remedy.

    The command line prints the message and exits with status 2; nothing already written is touched.
    """
