"""What a verb of the command line raises when it did not work."""


class Failed(Exception):
    """It did not work; the message says why. Not in `cli.py`, which has another name when it is the program."""
