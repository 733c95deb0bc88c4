"""A stream of payments that drifts, made up: some are fraud, and after each `--turn` rows the fraudsters change habits.

    python examples/payments.py --rows 20000 > payments.csv
    python examples/payments.py --rows 20000 --form jsonl > payments.jsonl
    python examples/payments.py --form jsonl --rate 50        # for ever, 50 rows a second

A file is the same each time. With `--rate` each start has times and ids of its own, as a service that is started again.
Values are missing now and then, and some categories are rare, as in real records.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, NamedTuple

COUNTRIES = ("DE", "FR", "NL", "PL", "US", "BR", "NG", "VN")
SHARES = (30, 22, 14, 12, 12, 6, 3, 1)
SHOPS = tuple(f"shop-{number}" for number in range(60))


class Habits(NamedTuple):
    """Of fraudsters: where they pay from, how much, at which hours, and whether online."""

    countries: frozenset[str]
    log_amount: float
    hours: range
    online: bool
    base: float


HABITS = (
    Habits(frozenset({"NG", "VN"}), 5.5, range(0, 6), True, -2.6),
    Habits(frozenset({"US", "BR"}), 2.2, range(17, 23), True, -3.7),
    Habits(frozenset({"DE", "PL"}), 4.5, range(9, 13), False, -4.4),
)


def payments(turn: int, seed: int, start: float, seconds: float, prefix: str) -> Iterator[dict[str, Any]]:
    """Payments without end.

    Args:
        turn: Rows after which the habits change.
        seed: Of everything random.
        start: Unix seconds of the first one.
        seconds: Mean time between two.
        prefix: Of their ids; each start of a live stream needs another, or its rows are dropped as duplicates.
    """
    random_ = random.Random(seed)
    now = start
    for number in count():
        now += random_.expovariate(1 / seconds)
        habits = HABITS[number // turn % len(HABITS)]
        hour = int(now // 3600 % 24)
        country = random_.choices(COUNTRIES, SHARES)[0]
        log_amount = random_.gauss(3.4, 1.1)
        online = random_.random() < 0.6
        age = int(random_.expovariate(1 / 700))
        suspicion = (
            habits.base
            + 3.0 * (country in habits.countries)
            + 1.8 * math.exp(-((log_amount - habits.log_amount) ** 2))
            + 1.2 * (hour in habits.hours)
            + 1.0 * (online == habits.online)
            + 1.0 * (age < 60)
        )
        yield {
            "payment_id": f"{prefix}-{number}",
            "created": int(now * 1000),
            "amount": None if random_.random() < 0.03 else round(math.exp(log_amount), 2),
            "country": None if random_.random() < 0.05 else country,
            "shop": random_.choice(SHOPS),
            "online": online,
            "card_age_days": age,
            "is_fraud": random_.random() < 1 / (1 + math.exp(-4 * suspicion)),
        }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A stream of payments that drifts.")
    parser.add_argument("--rows", type=int, help="how many; default: without end")
    parser.add_argument("--form", choices=("csv", "jsonl"), default="csv")
    parser.add_argument("--rate", type=float, help="rows per second; default: as fast as they are read")
    parser.add_argument("--turn", type=int, default=6000, help="rows after which the fraudsters change habits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix", help="of the ids; default: p-SEED, with --rate p-MILLISECONDS of the start")
    given = parser.parse_args()
    start, seconds = (time.time(), 1 / given.rate) if given.rate else (1_767_225_600.0, 45.0)
    prefix = given.prefix or f"p-{int(start * 1000) if given.rate else given.seed}"
    rows = islice(payments(given.turn, given.seed, start, seconds, prefix), given.rows)
    began = time.monotonic()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, row in enumerate(rows):
        if given.rate:
            time.sleep(max(0.0, began + number / given.rate - time.monotonic()))
        if given.form == "jsonl":
            print(json.dumps({name: value for name, value in row.items() if value is not None}), flush=bool(given.rate))
            continue
        if number == 0:
            writer.writerow(row)
        writer.writerow(str(value).lower() if isinstance(value, bool) else value for value in row.values())
        if given.rate:
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()  # the reader has gone, or nobody wants more
