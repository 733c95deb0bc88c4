"""Analytic ridge (AEF-OCL): recursive ridge regression on additive sums."""
