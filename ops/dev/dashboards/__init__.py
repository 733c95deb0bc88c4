"""Grafana's dashboards: what is on each, a file each, and how panels look (`parts`). `make dashboards` writes them."""
