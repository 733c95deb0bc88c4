"""The description of the REST interface: `/openapi.json`, and `/docs` for people."""
