"""Grafana dashboards as code: one file per dashboard, shared panels in `parts`. `make dashboards` writes the JSON."""
