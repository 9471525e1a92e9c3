"""Forged records for the verifier's tests: one partition of a log, as a handler would write it."""

from typing import Any

from schemas.identity import email_shard, partition_of
from scripts.verify.checks.decisions import DecisionChecks
from scripts.verify.checks.log import LogChecks
from scripts.verify.facts import Check, Entry
from tests.samples.events import event_of, user_id_of

PARTITIONS = 4
JANE = "jane@example.com"
HOME = partition_of(email_shard(JANE), PARTITIONS)


ID = user_id_of(JANE)


def event(seq: int, version: int = 1, *, email: str = JANE, number: int = 0) -> Any:
    """Return an event of the user who registered with `email`."""
    return event_of(
        email,
        version,
        number=number,
        seq=seq,
        command_id=f"c{seq}",
        occurred_at=1000 + seq,
        type="UserCreated" if version == 1 else "UserUpdated",
        changes=[] if version == 1 else _changes(version),
        name=f"Jane {version}",
        age=30 + version,
        created_at=1001,
        created_by="c1",
    )


def _changes(version: int) -> list[dict[str, Any]]:
    return [
        {"field": "name", "before": f"Jane {version - 1}", "after": f"Jane {version}"},
        {"field": "age", "before": 29 + version, "after": 30 + version},
    ]


def gone(seq: int, version: int, kind: str = "UserDeleted") -> Any:
    return event(seq, version) | {"type": kind, "user": None, "changes": []}


def erasure(seq: int, version: int) -> Any:
    return gone(seq, version, "UserErased")


def as_history(events: list[Any]) -> list[Entry]:
    """Return records of `user-history`; a text stands for the tombstone of that key."""
    return [
        Entry(HOME, at, e, None)
        if isinstance(e, str)
        else Entry(HOME, at, f"{e['user_id']}:{e['version']}", e)
        for at, e in enumerate(events)
    ]


def as_events(events: list[Any]) -> list[Entry]:
    return [Entry(HOME, at, e["user_id"] if e else "x", e) for at, e in enumerate(events)]


def broken(checks: list[Check]) -> list[str]:
    return [check.promise for check in checks if not check.holds]


def only(checks: LogChecks | DecisionChecks, expected: Check) -> str:
    """Require that only `expected` is broken; return its first example."""
    assert broken(checks.checks()) == [expected.promise]
    assert expected.examples
    return expected.examples[0]
