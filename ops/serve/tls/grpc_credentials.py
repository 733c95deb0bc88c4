"""TLS of the gRPC server: credentials that follow the newest certificates."""

from __future__ import annotations

import grpc

from thalweg.ops.serve.tls.certificates import Certificates, Loaded


def credentials_of(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials; gRPC asks for the newest certificates at each handshake. TLS 1.2 at least, as gRPC has it."""
    used = certificates.current()

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        found = certificates.current()
        if found is used:
            return None  # as before
        used = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        newest,  # type: ignore[arg-type]  # the stubs do not know that it may return None
        require_client_authentication=certificates.asks_clients,
    )


def _configuration(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.certificate)], loaded.client_ca)
