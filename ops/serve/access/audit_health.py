"""The health of the audit log: what cannot be recorded is an operator's to mend."""

from __future__ import annotations

from functools import partial

from thalweg.memory.audit import AuditLog
from thalweg.stream.health.registry import HealthRegistry

COMPONENT = "audit_log"


def tell_health(registry: HealthRegistry, *logs: AuditLog) -> None:
    """Report as `audit_log` whether these can be written; the last action recorded in each says so."""
    health = registry.register(COMPONENT)
    problems = dict.fromkeys(range(len(logs)), "")

    def tell(number: int, problem: str) -> None:
        problems[number] = problem
        if found := "; ".join(filter(None, problems.values())):
            health.degraded(found)
        else:
            health.running()

    health.running()
    for number, one in enumerate(logs):
        one.watch(partial(tell, number))
