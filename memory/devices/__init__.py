"""Devices: which one a model computes on, and the one seam through which arrays reach it and come back."""
