"""Whom our own clients of TLS trust: the same roots with every version of Python, and the same as gRPC."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca: Path | None = None) -> ssl.SSLContext:
    """A context for connections that we open.

    Since Python 3.13 the usual one also refuses roots that are trusted but say less of themselves than RFC 5280 asks,
    such as their key usage; those of many private authorities do, and gRPC, curl and older Pythons take them.

    Args:
        ca: Roots to trust; None: those of the system.

    Raises:
        OSError: The file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
