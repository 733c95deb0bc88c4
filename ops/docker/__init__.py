"""The image of the service, and what Docker asks in its containers."""
