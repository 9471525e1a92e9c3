"""Pure checks of the read models: each must hold exactly the fold of `user-events`."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from projectors.contract.read_model import Position
from schemas.identity import partition_of, user_shard
from schemas.rules import age_group
from scripts.verify.facts import Last, text_hash
from scripts.verify.findings import Check


class Stored(NamedTuple):
    """A user as a read model holds it; texts are hashes, `age` is None for a marker."""

    version: int
    email: int
    name: int
    age: int | None
    age_group: str | None


def digest(held: Mapping[str, Stored]) -> str:
    """Return 12 hex digits over every user as held, markers included; the same in any order."""
    lines = sorted(f"{user_id} {tuple(row)}" for user_id, row in held.items())
    return sha256("\n".join(lines).encode()).hexdigest()[:12]


def stored(row: Mapping[str, Any]) -> Stored:
    """Return what is compared of a row or document, texts as hashes."""
    if row.get("age") is None:
        return Stored(row["version"], 0, 0, None, None)
    return Stored(
        row["version"],
        text_hash(row["email"]),
        text_hash(row["name"]),
        row["age"],
        row["age_group"],
    )


def check_current(
    model: str,
    positions: Mapping[int, Position],
    ends: Mapping[int, int],
    topic_id: str,
) -> Check:
    """Check that a model's checkpoint has passed seq `ends` and speaks of this topic."""
    check = Check(f"{model}: has applied the log to its end")
    for partition, end in ends.items():
        check.looked_at += 1
        position = positions.get(partition)
        if position is not None and position.topic_id != topic_id:
            check.report(f"partition {partition}: its checkpoint is of another topic")
        elif (position.last_seq if position else 0) < end:
            at = position.last_seq if position else 0
            check.report(f"partition {partition}: at seq {at} of {end}")
    return check


def check_users(
    model: str,
    held: Mapping[str, Stored],
    positions: Mapping[int, Position],
    users: Mapping[str, Last],
    partitions: int,
) -> Check:
    """Check every user: exact up to the checkpoint, and between it and the log's end beyond it."""
    check = Check(f"{model}: holds exactly the fold of user-events")
    for user_id, last in users.items():
        check.looked_at += 1
        position = positions.get(partition_of(user_shard(user_id), partitions))
        row = held.get(user_id)
        if position is None or last.seq > position.last_seq:
            if row is not None and row.version > last.version:
                check.report(f"user {user_id}: version {row.version}, the log has {last.version}")
            elif row is not None and row.version == last.version:
                _compare(check, user_id, row, last)
        elif row is None:
            check.report(f"user {user_id} is missing")
        else:
            _compare(check, user_id, row, last)
    for user_id in held.keys() - users.keys():
        check.report(f"user {user_id} is not on the log")
    return check


def _compare(check: Check, user_id: str, row: Stored, last: Last) -> None:
    if row.version != last.version:
        check.report(f"user {user_id}: version {row.version}, the log has {last.version}")
        return
    group = None if last.age is None else age_group(last.age)
    pairs = {
        "email": (row.email, last.email),
        "name": (row.name, last.name),
        "age": (row.age, last.age),
        "age_group": (row.age_group, group),
    }
    differing = [field for field, (ours, theirs) in pairs.items() if ours != theirs]
    if differing:
        check.report(f"user {user_id} version {row.version} differs in {', '.join(differing)}")


class Summary(NamedTuple):
    """The summary as people see it; None for the average of nobody."""

    total_users: int
    average_age: float | None
    users_by_age_group: Mapping[str, int]


def recomputed(held: Iterable[Stored]) -> Summary:
    """Return the summary of users as they are held, counted one by one."""
    groups = {"teen": 0, "adult": 0, "senior": 0}
    ages = [row.age for row in held if row.age is not None]
    for age in ages:
        groups[age_group(age)] += 1
    return Summary(len(ages), sum(ages) / len(ages) if ages else None, groups)


def check_summary(shown: Summary, held: Iterable[Stored]) -> Check:
    """Check that the summary equals a recomputation from the users of the same snapshot."""
    check = Check("postgres: the summary equals a recomputation", looked_at=1)
    counted = recomputed(held)
    if shown.total_users != counted.total_users:
        check.report(f"total_users {shown.total_users}, counted {counted.total_users}")
    if dict(shown.users_by_age_group) != dict(counted.users_by_age_group):
        check.report("users_by_age_group differs from what is counted")
    ours, theirs = shown.average_age, counted.average_age
    if (ours is None) != (theirs is None) or (
        ours is not None and theirs is not None and abs(ours - theirs) > 1e-9 * max(1, theirs)
    ):
        check.report("average_age differs from what is counted")
    return check


def check_visible(model: str, visible: int, held: Iterable[Stored]) -> Check:
    """Check that people see the live users and none of the markers."""
    check = Check(f"{model}: people see the live users and nobody who is gone", looked_at=visible)
    live = sum(row.age is not None for row in held)
    if visible != live:
        check.report(f"{visible} are visible, {live} are alive")
    return check
