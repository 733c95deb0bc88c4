"""What is wrong with a configuration; in a file of its own for processes that load nothing else."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The configuration cannot be used; one line per mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))
