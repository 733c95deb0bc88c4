"""Versions of the packages that are installed, also where one is run from its source and was never installed."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "unknown"


@functools.cache  # reading the metadata of packages takes milliseconds
def version_of(package: str, module: str = "") -> str:
    """The version of a package; without its metadata (a source tree, an archive) what its module says, or `unknown`.

    Args:
        package: Its name where it is installed from.
        module: Its name where it is imported; empty: the same.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(import_module(module or package), "__version__", UNKNOWN))
