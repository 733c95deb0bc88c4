"""Units that measure the same, and how many of one another is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_MAGNITUDES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "Mio": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "Bn": 1e9, "Mrd": 1e9}
_DIMENSIONS: tuple[Mapping[str, float], ...] = (
    {"kg": 1.0, "g": 1e-3, "mg": 1e-6, "µg": 1e-9, "t": 1e3, "lb": 0.45359237, "lbs": 0.45359237, "oz": 0.028349523125},
    {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "dm": 0.1, "km": 1e3, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344},
    {"l": 1.0, "L": 1.0, "ml": 1e-3, "mL": 1e-3, "cl": 1e-2, "cL": 1e-2, "dl": 0.1, "dL": 0.1, "hl": 100.0},
    {"s": 1.0, "sec": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "hr": 3600.0, "hrs": 3600.0},
    {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1024.0, "MiB": 2.0**20, "GiB": 2.0**30},
    {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    {"W": 1.0, "mW": 1e-3, "kW": 1e3, "MW": 1e6, "GW": 1e9},
    {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "GWh": 1e9},
    {"V": 1.0, "mV": 1e-3, "kV": 1e3},
    {"A": 1.0, "mA": 1e-3},
    {"Pa": 1.0, "hPa": 100.0, "kPa": 1e3, "mbar": 100.0, "bar": 1e5},
    {"m²": 1.0, "m2": 1.0, "cm²": 1e-4, "km²": 1e6, "ha": 1e4},
    {"km/h": 1.0, "kmh": 1.0, "kph": 1.0, "mph": 1.609344, "m/s": 3.6},
)


def base_of(units: Collection[str], commonest: str) -> str:
    """The unit that numbers are in once they are read: the commonest, but of thousands and millions none."""
    return "" if {*units, ""} <= _MAGNITUDES.keys() and len({*units} - {""}) > 1 - ("" in units) else commonest


def in_unit(units: Collection[str], base: str) -> dict[str, float] | None:
    """By unit, how many of the base unit one is; None if one measures something else or is not known."""
    for known in (_MAGNITUDES, *_DIMENSIONS):
        if {*units, base} <= known.keys():
            return {unit: float(f"{known[unit] / known[base]:.12g}") for unit in units if unit != base}
    return None
