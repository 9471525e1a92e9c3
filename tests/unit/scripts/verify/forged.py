"""Forged records for the verifier's tests: one partition of a log, as a handler would write it."""

from typing import Any

from schemas.identity import email_shard, new_user_id, partition_of
from scripts.verify.decision_checks import DecisionChecks
from scripts.verify.facts import Check, Entry
from scripts.verify.log_checks import LogChecks

PARTITIONS = 4
JANE = "jane@example.com"
HOME = partition_of(email_shard(JANE), PARTITIONS)


def user_id_of(email: str, number: int = 0) -> str:
    return new_user_id(email_shard(email), 1_755_000_000_000, number)


ID = user_id_of(JANE)


def event(seq: int, version: int = 1, *, email: str = JANE, number: int = 0) -> Any:
    """Return an event of the user who registered with `email`."""
    user_id = user_id_of(email, number)
    return {
        "event_id": f"{user_id}:{version}",
        "command_id": f"c{seq}",
        "seq": seq,
        "user_id": user_id,
        "version": version,
        "occurred_at": 1000 + seq,
        "type": "UserCreated" if version == 1 else "UserUpdated",
        "changes": [] if version == 1 else _changes(version),
        "user": {
            "email": email,
            "email_key": email,
            "name": f"Jane {version}",
            "age": 30 + version,
            "created_at": 1001,
            "created_by": "c1",
        },
    }


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
