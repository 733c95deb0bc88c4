"""Whether the service in this container answers: for Docker, which knows neither its settings nor its certificates.

It asks `/healthz` on the port of `THALWEG_SERVICE__HEALTH` if there is one, else on that of `THALWEG_SERVICE__HTTP`,
8080 by default, in plain text and by TLS. Where clients need a certificate, it has none: that the server refuses it for
that is an answer.
"""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPException, RemoteDisconnected
from urllib.error import HTTPError
from urllib.request import urlopen

_TIMEOUT_SECONDS = 2.0


def healthy(port: int) -> bool:
    """Whether the server on this port of this machine is well, as far as somebody without a certificate can tell."""
    unverified = ssl.create_default_context()  # its names are those of the service, not of this machine
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    for url, context in ((f"http://127.0.0.1:{port}/healthz", None), (f"https://127.0.0.1:{port}/healthz", unverified)):
        try:
            with urlopen(url, timeout=_TIMEOUT_SECONDS, context=context):
                return True
        except HTTPError:
            return False
        except RemoteDisconnected:
            if context is not None:  # after the handshake: it wants a certificate
                return True
        except (OSError, HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (cause.reason or ""):
                return True
    return False


if __name__ == "__main__":
    address = os.environ.get("THALWEG_SERVICE__HEALTH") or os.environ.get("THALWEG_SERVICE__HTTP", ":8080")
    sys.exit(not healthy(int(address.rpartition(":")[2])))
