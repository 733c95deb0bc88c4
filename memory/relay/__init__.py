"""Versions on their way to other hosts: what is announced of them, and the stores by which they go."""
