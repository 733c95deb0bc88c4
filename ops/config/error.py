"""The error of an invalid configuration; in a separate file for processes that load nothing else."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The configuration is invalid; one line per mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))
