"""Transport security of both interfaces: certificates, read again when they change."""
