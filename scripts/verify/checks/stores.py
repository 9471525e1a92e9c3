"""Pure checks of the read models: each must hold exactly the fold of its topic."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from projectors.contract.read_model import Position
from schemas.fields.rules import age_group
from schemas.identity import history_key, partition_of, user_shard
from schemas.records import USER_ERASED, UserEvent
from scripts.verify.facts import Check, Entry, Last, text_hash

_PERSONAL = ("changes", "email", "email_key", "name", "age", "created_at", "created_by")
_STATE = ("email", "email_key", "name", "age", "created_at", "created_by")


class Stored(NamedTuple):
    """A user in a read model; texts are hashes, 0 where there is none, as in a marker.

    Times are in milliseconds since the epoch. `derived` is whether all fields that follow from
    others are as they must be.
    """

    version: int
    email: int
    name: int
    age: int | None
    age_group: str | None
    created_at: int | None
    updated_at: int
    derived: bool = True


def digest(held: Mapping[str, Stored]) -> str:
    """Return 12 hex digits over all stored users, markers included, whatever their order."""
    lines = sorted(f"{user_id} {tuple(row)}" for user_id, row in held.items())
    return sha256("\n".join(lines).encode()).hexdigest()[:12]


def stored(row: Mapping[str, Any]) -> Stored:
    """Return the compared fields of a row or document, texts as hashes."""
    email, name = row.get("email"), row.get("name")
    return Stored(
        row["version"],
        0 if email is None else text_hash(email),
        0 if name is None else text_hash(name),
        row.get("age"),
        row.get("age_group"),
        row.get("created_at"),
        row["updated_at"],
        row.get("derived", True),
    )


def check_leftovers(
    model: str, rows: Iterable[tuple[str, int]], users: Mapping[str, Last]
) -> Check:
    """Check a version that is not compared: it holds no data of a user from before an erasure.

    `rows` are the ids and versions of what it holds with personal data.
    """
    check = Check(f"{model}: holds nothing of an erased user")
    for user_id, version in rows:
        check.looked_at += 1
        last = users.get(user_id)
        if last is not None and last.erased and version < last.version:
            check.report(f"user {user_id} version {version}, erased by version {last.version}")
    return check


def check_current(
    model: str,
    positions: Mapping[int, Position],
    ends: Mapping[int, int],
    topic_id: str,
) -> Check:
    """Check that a model's checkpoint has reached seq `ends` and belongs to this topic."""
    check = Check(f"{model}: has applied the log to its end")
    for partition, end in ends.items():
        check.looked_at += 1
        position = positions.get(partition)
        if position is not None and position.topic_id != topic_id:
            check.report(f"partition {partition}: its checkpoint belongs to another topic")
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
    """Check every user: exactly up to the checkpoint, and not beyond the log's end after it."""
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
    state = (last.email, last.name, last.age, group, last.created_at, last.updated_at)
    wanted = Stored(last.version, *state, derived=True)
    pairs = zip(Stored._fields, row, wanted, strict=True)
    differing = [field for field, ours, theirs in pairs if ours != theirs]
    if differing:
        check.report(f"user {user_id} version {row.version} differs in {', '.join(differing)}")


class Summary(NamedTuple):
    """The summary that queries return; the average of no users is None."""

    total_users: int
    average_age: float | None
    users_by_age_group: Mapping[str, int]


def recomputed(held: Iterable[Stored]) -> Summary:
    """Return the summary of the stored users, counted one by one."""
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
    """Check that queries show all live users and no markers."""
    check = Check(f"{model}: queries show all live users and no others", looked_at=visible)
    live = sum(row.age is not None for row in held)
    if visible != live:
        check.report(f"{visible} are visible, {live} are live")
    return check


@dataclass(slots=True)
class HistoryFold:
    """The fold of one partition of `user-history`: user id → version → hash of the event.

    `erased` maps a user to the version of its erasure: every earlier version is removed, in
    whatever order the records arrive. Who asked is compared `with_issuer` only: a version of an
    earlier release has no column for it.
    """

    with_issuer: bool = True
    kept: dict[str, dict[int, int]] = field(default_factory=dict)
    erased: dict[str, int] = field(default_factory=dict)

    def add(self, event: UserEvent) -> None:
        """Add an event, unless its user was erased at a later version."""
        user_id, version = event["user_id"], event["version"]
        if version < self.erased.get(user_id, 0):
            return
        versions = self.kept.setdefault(user_id, {})
        if event["type"] == USER_ERASED:
            self.erased[user_id] = version
            for older in [one for one in versions if one < version]:
                del versions[older]
        # The first record of a version counts; a second one is reported by the checks of the log.
        issuer = [event["issued_by"]] if self.with_issuer else []
        versions.setdefault(version, event_hash(event, issuer))

    def remove(self, key: str) -> None:
        """Remove the event that a tombstone names."""
        user_id, _, version = key.rpartition(":")
        if version.isdecimal():
            self.kept.get(user_id, {}).pop(int(version), None)


def fold(entries: Iterable[Entry], partitions: int, *, with_issuer: bool = True) -> HistoryFold:
    """Return the fold of one partition; foreign records are ignored."""
    left = HistoryFold(with_issuer)
    for entry in entries:
        event: UserEvent | None = entry.record
        if event is None:
            if not entry.problem and entry.key is not None:
                left.remove(entry.key)
        elif (
            entry.key == history_key(event["user_id"], event["version"])
            and partition_of(user_shard(event["user_id"]), partitions) == entry.partition
        ):
            left.add(event)
    return left


def event_hash(event: UserEvent, issuer: list[Any]) -> int:
    """Return a 64-bit hash of everything that the read model must hold of an event.

    `issuer` has who asked, or nothing if the version has no column for it.
    """
    user: Mapping[str, Any] | None = event["user"]
    changes = [(one["field"], one["before"], one["after"]) for one in event["changes"]]
    state = None if user is None else [user[name] for name in _STATE]
    if event["type"] == USER_ERASED:
        changes, state, issuer = [], None, [None] * len(issuer)
    return _hash(event, changes, state, issuer)


def row_hash(row: Mapping[str, Any]) -> int:
    """Return the same hash as `event_hash` for a row; times are milliseconds since the epoch."""
    found = row["changes"] or []
    changes = [(one["field"], one["before"], one["after"]) for one in found]
    state = [row[name] for name in _STATE]
    issuer = [row["issued_by"]] if "issued_by" in row else []
    state_after = None if all(value is None for value in state) else state
    return _hash(row, changes, state_after, issuer)


def _hash(
    event: Mapping[str, Any], changes: list[Any], state: list[Any] | None, issuer: list[Any]
) -> int:
    names = ("seq", "occurred_at", "type", "command_id")
    return text_hash(repr(([event[name] for name in names], changes, state, issuer)))


class HistoryChecks:
    """Call `partition` with each partition: the fold of the log, and the rows of its users."""

    def __init__(self) -> None:
        self.same = Check("history: holds exactly the fold of user-history")
        self.erased = Check("history: it holds only the marker of an erased user")

    def partition(self, left: HistoryFold, rows: Iterable[Mapping[str, Any]]) -> None:
        """Compare rows with the fold of the log up to the same offset; consumes `left`."""
        for row in rows:
            user_id, version = row["user_id"], row["version"]
            self.same.looked_at += 1
            wanted = left.kept.get(user_id, {}).pop(version, None)
            if wanted is None:
                self.same.report(f"user {user_id} version {version} is not on the log")
            elif wanted != row_hash(row):
                self.same.report(f"user {user_id} version {version} differs")
            self._check_erased(row, left.erased.get(user_id))
        for user_id, versions in left.kept.items():
            for version in versions:
                self.same.looked_at += 1
                self.same.report(f"user {user_id} version {version} is missing")

    def _check_erased(self, row: Mapping[str, Any], marker: int | None) -> None:
        if marker is None and row["type"] != USER_ERASED:
            return
        self.erased.looked_at += 1
        where = f"user {row['user_id']} version {row['version']}"
        if marker is not None and row["version"] < marker:
            self.erased.report(f"{where} still exists")
        elif any(row[name] is not None for name in _PERSONAL):
            self.erased.report(f"{where} contains personal data")
