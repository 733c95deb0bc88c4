"""The error of a failed command of the command line."""


class Failed(Exception):
    """The command failed; the message says why. Not in `cli.py`, whose module has another name when run as the
    program.
    """
