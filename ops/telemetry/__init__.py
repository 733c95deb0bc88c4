"""Monitoring: metrics, status files, histograms."""
