"""Small streams as people have them, made up: what each column is stands in its content, not always in its name."""

from __future__ import annotations

import csv
import io
import json
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Rows = list[dict[str, Any]]
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
COUNT = 300


def as_csv(rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def as_lines(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _at(row: int) -> datetime:
    return START + timedelta(seconds=37 * row)


def _unix(row: int, factor: int = 1) -> int:
    return int(_at(row).timestamp() * factor)


def _comma(number: float) -> str:
    return f"{number:.2f}".replace(".", ",")


def _made(of_row: Callable[[int, random.Random], Mapping[str, Any]]) -> Rows:
    chance = random.Random(20261128)
    return [dict(of_row(row, chance)) for row in range(COUNT)]


def _views(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "view id": 5_000_000 + 13 * row + chance.randrange(13),
        "when (UTC)": _unix(row, 1000),
        "user": f"u{chance.randrange(40)}",
        "item": f"i{chance.randrange(25)}",
        "dwell s": round(chance.expovariate(0.1), 1),
        "clicked": int(chance.random() < 0.3),
    }


def _purchases(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "User ID": chance.randrange(1000, 1050),
        "Product ID": chance.randrange(20),
        "Price": round(chance.uniform(1, 90), 2),
        "Device": chance.choice(["phone", "web"]),
        "Purchased": chance.choice(["yes", "no", "no"]),
    }


def _german(row: int, chance: random.Random) -> Mapping[str, Any]:
    amount = chance.lognormvariate(3, 1)
    return {
        "Vorgangsnummer": f"{chance.getrandbits(40):010x}",
        "Zeitpunkt": _at(row).strftime("%d.%m.%Y %H:%M:%S"),
        "Betrag": _comma(amount),
        "Kundennummer": 70_000 + chance.randrange(60),
        "Land": chance.choice(["DE", "AT", "CH"]),
        "Ziel": "ja" if amount > 40 else "nein",
    }


def _machine(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "ts_ns": _unix(row, 1_000_000_000),
        "asset": chance.choice(["pump-1", "pump-2"]),
        "vibration": round(chance.gauss(0, 1), 4),
        "firmware": "1.4.2",
        "error_code": chance.choice([0, 0, 0, 17, 23, 404]),
        "temp": None if row % 11 == 0 else round(chance.gauss(60, 4), 2),
        "failure": int(chance.random() < 0.1),
    }


def _payments(row: int, chance: random.Random) -> Mapping[str, Any]:
    amount = round(chance.lognormvariate(3, 1), 2)
    return {
        "TransactionID": 2_987_000 + row * 3 + chance.randrange(3),
        "epoch": _unix(row),
        "Amount": amount,
        "MCC": chance.choice([5411, 5812, 5999, 4111, 7995]),
        "is_fraud": int(amount > 60),
    }


def _leaking(row: int, chance: random.Random) -> Mapping[str, Any]:
    amount = round(chance.lognormvariate(3, 1), 2)
    return {
        "order": str(uuid.UUID(int=chance.getrandbits(128))),
        "amount": amount,
        "chargeback": "CB" if amount > 40 else "kept",
        "dispute opened": _at(row).isoformat() if amount > 40 else None,
        "Label": "bad" if amount > 40 else "good",
    }


def _nested(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "event": {"uid": f"{chance.getrandbits(64):016x}", "happened": _at(row).isoformat().replace("+00:00", "Z")},
        "session": {"country": chance.choice(["DE", "FR", None]), "pages": chance.randrange(30)},
        "tags": chance.sample(["new", "web", "gift"], 2),
        "y": chance.choice([True, False]),
    }


def _quoted_json(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "request": f"{chance.getrandbits(48):012x}",
        "payload": json.dumps({"os": chance.choice(["ios", "android"]), "n": chance.randrange(9)}),
        "latency ms": round(chance.expovariate(0.02), 2),
        "outcome": chance.choice(["ok", "timeout"]),
    }


def _french(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "identifiant": 88_000_000 + row * 7 + chance.randrange(7),
        "horodatage": _unix(row, 1_000_000),
        "montant (€)": _comma(chance.uniform(1, 2000)),
        "département": chance.choice(["01", "13", "69", "75", "2A"]),
        "résilié": chance.choice(["oui", "non"]),
    }


def _rides(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "datetime": _at(row).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "season": chance.randrange(1, 5),
        "holiday": int(chance.random() < 0.1),
        "temp": round(chance.gauss(15, 8), 2),
        "count": chance.randrange(1, 900),
    }


def _spam(row: int, chance: random.Random) -> Mapping[str, Any]:
    words = ["offer", "free", "meeting", "tomorrow", "please", "account", "verify", "thanks", "report", "lunch"]
    return {
        "message": " ".join(chance.choices(words, k=8)),
        "received": _at(row).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "label": chance.choice(["spam", "ham"]),
    }


def _pandas(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "": row,
        "age": chance.choice(["", *map(str, range(20, 70))]),
        "zip": f"{chance.randrange(100_000):05d}",
        "status": chance.choice([1, 2, 3]),
        "Survived": chance.randrange(2),
    }


def _sensors(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "Date": _at(row).strftime("%Y-%m-%d %H:%M:%S"),
        "Temperature": round(chance.gauss(20, 2), 2),
        "Humidity": round(chance.uniform(20, 60), 3),
        "HumidityRatio": round(chance.uniform(0.003, 0.006), 14),
        "Light": chance.choice([0, 0, 419, 433.5]),
        "Occupancy": chance.randrange(2),
    }


def _prices(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "listing": f"{chance.choice('ABCDEFGH')}{chance.getrandbits(30):x}",
        "sold at": _at(row * 900).date().isoformat(),
        "area": round(chance.uniform(30, 200), 1),
        "rooms": chance.randrange(1, 7),
        "price": chance.randrange(50_000, 900_000, 500),
    }


def _tickets(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "Ticket No.": 40_000 + 2 * row,
        "Created On": _at(row * 100).strftime("%m/%d/%Y %I:%M %p"),
        "Priority": chance.choice([1, 2, 3, 4]),
        "Team": chance.choice(["net", "web", "db"]),
        "Target": chance.choice(["solved", "open", "closed"]),
    }


def _motion(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "x": round(chance.gauss(0, 1), 4),
        "y": round(chance.gauss(0, 1), 4),
        "z": round(chance.gauss(9.8, 1), 4),
        "activity": chance.choice(["walk", "sit", "run"]),
    }


def _defects(row: int, chance: random.Random) -> Mapping[str, Any]:
    return {
        "kaputt": chance.choice(["ja", "nein"]),
        "Seriennummer": f"SN{chance.randrange(10**6):06d}-{row:03d}",
        "Werk": chance.choice([10, 20, 30]),
        "Druck": round(chance.gauss(3, 0.2), 3),
    }


STREAMS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "views": ("views.csv", lambda: as_csv(_made(_views))),
    "views in lines": ("views.jsonl", lambda: as_lines(_made(_views))),
    "purchases": ("purchases.csv", lambda: as_csv(_made(_purchases))),
    "german": ("german.csv", lambda: as_csv(_made(_german), ";", "utf-8-sig")),
    "machine": ("machine.csv", lambda: as_csv(_made(_machine))),
    "payments": ("payments.csv", lambda: as_csv(_made(_payments))),
    "leaking": ("leaking.csv", lambda: as_csv(_made(_leaking))),
    "nested": ("nested.jsonl", lambda: as_lines(_made(_nested))),
    "quoted json": ("quoted.csv", lambda: as_csv(_made(_quoted_json))),
    "french": ("french.csv", lambda: as_csv(_made(_french), ";")),
    "rides": ("rides.csv", lambda: as_csv(_made(_rides))),
    "spam": ("spam.tsv", lambda: as_csv(_made(_spam), "\t")),
    "pandas": ("pandas.csv", lambda: as_csv(_made(_pandas))),
    "sensors": ("sensors.csv", lambda: as_csv(_made(_sensors))),
    "prices": ("prices.csv", lambda: as_csv(_made(_prices))),
    "motion": ("motion.csv", lambda: as_csv(_made(_motion))),
    "defects": ("defects.csv", lambda: as_csv(_made(_defects), ";", "cp1252")),
    "tickets": ("tickets.csv", lambda: as_csv(_made(_tickets))),
}
