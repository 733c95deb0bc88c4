"""What is counted and shown: metrics, status files, histograms."""
