"""Figures as people read them."""

from __future__ import annotations


def figure_text(value: float | None) -> str:
    """A figure with four decimals, or with up to six significant digits where four decimals are too many or too few;
    `-` for None.

    >>> figure_text(0.93914), figure_text(1234567.8), figure_text(1e99), figure_text(1.5e-7)
    ('0.9391', '1.23457e+06', '1e+99', '1.5e-07')
    """
    if value is None:
        return "-"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:.6g}"
