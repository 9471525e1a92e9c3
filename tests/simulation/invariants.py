"""What must hold of the log and the read model after every run, checked without product code."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from zlib import crc32

from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, OUTCOMES
from tests.simulation.log_reader import LogRecord, committed
from tests.simulation.simulated.cluster import PARTITIONS
from tests.simulation.simulated.stores import Stored
from tests.simulation.simulated.world import World

Fields = dict[str, object]


def broken_invariants(world: World) -> Iterator[str]:
    """Yield what is wrong with the log of a settled run, and with its read model."""
    log = world.log
    events = [one for one in committed(log, HISTORY.name) if one.value is not None]
    outcomes = list(committed(log, OUTCOMES.name))
    commands = list(committed(log, COMMANDS.name))
    yield from _broken_numbers(events, goes_back=world.options.clock_lead_seconds > 0)
    yield from _broken_folds(events)
    yield from _double_holders(events)
    yield from _other_states(world, events)
    yield from _broken_answers(commands, outcomes, log.lost)
    yield from _broken_effects(events, outcomes, forgets=world.options.forgetful)
    yield from _broken_claims(events, committed(log, EMAILS.name))
    yield from _unerased(events, committed(log, HISTORY.name))
    yield from _broken_rows(world, events)


def _broken_numbers(events: Iterable[LogRecord], *, goes_back: bool) -> Iterator[str]:
    """Seqs and versions have no gap; times do not go back unless a clock was corrected."""
    seqs, times = [0] * PARTITIONS, [0] * PARTITIONS
    versions: dict[str, int] = {}
    for one in events:
        event = one.value or {}
        user_id, number = event["user_id"], one.partition
        if event["seq"] != seqs[number] + 1:
            yield f"partition {number}: seq {event['seq']} follows {seqs[number]}"
        if event["version"] != versions.get(user_id, 0) + 1:
            yield f"{user_id}: version {event['version']} follows {versions.get(user_id, 0)}"
        if event["occurred_at"] < times[number] and not goes_back:
            yield f"partition {number}: time goes back at seq {event['seq']}"
        if int(user_id[15:18], 16) * PARTITIONS // 4096 != number:
            yield f"{user_id}: an event in partition {number}"
        if one.key != f"{user_id}:{event['version']}":
            yield f"{user_id}: an event under the key {one.key}"
        seqs[number], versions[user_id] = event["seq"], event["version"]
        times[number] = event["occurred_at"]


def _broken_folds(events: Iterable[LogRecord]) -> Iterator[str]:
    """Each event carries the state that the changes so far lead to."""
    users: dict[str, Fields] = {}
    for one in events:
        event = one.value or {}
        before, user = users.get(event["user_id"], {}), event["user"]
        if event["type"] == "UserCreated":
            after = dict(user)
        elif event["type"] in {"UserDeleted", "UserErased"}:
            after = {}
        else:
            changes = event["changes"]
            if any(before.get(change["field"]) != change["before"] for change in changes):
                yield f"{one.key}: the change begins with another state than {before}"
            after = before | {change["field"]: change["after"] for change in changes}
            after["email_key"] = str(after["email"]).lower()
        if (user or {}) != after:
            yield f"{one.key}: the state is {user} instead of {after}"
        users[event["user_id"]] = after


def _double_holders(events: Iterable[LogRecord]) -> Iterator[str]:
    """At the end of no transaction do two live users have one address."""
    by_commit: dict[int, list[LogRecord]] = defaultdict(list)
    for one in events:
        by_commit[one.commit].append(one)
    live: dict[str, str] = {}
    for commit in sorted(by_commit):
        for one in by_commit[commit]:
            event = one.value or {}
            live.pop(event["user_id"], None)
            if event["user"]:
                live[event["user_id"]] = event["user"]["email_key"]
        if len(set(live.values())) < len(live):
            yield f"two live users have one address: {live}"
            return


def _other_states(world: World, events: Iterable[LogRecord]) -> Iterator[str]:
    """The latest record of each user in the other topic of events is the latest event."""
    latest = {(one.value or {})["user_id"]: one.value for one in events}
    found = {one.key: one.value for one in committed(world.log, EVENTS.name)}
    if found != latest:
        yield f"user-events and user-history differ: {set(found) ^ set(latest) or 'in a state'}"
    visible = {key.decode() for _, key, _ in world.log.records(EVENTS.name) if key is not None}
    if visible != set(latest):
        yield f"compaction lost users: {set(latest) - visible}"


def _broken_answers(
    commands: list[LogRecord], outcomes: list[LogRecord], lost: Mapping[tuple[str, int], str]
) -> Iterator[str]:
    """Each command has one outcome, but those whose id no outcome can have.

    The `lost` ones, by user and offset, may have none: retention deleted them on their way.
    """
    answered: dict[tuple[int, int], int] = defaultdict(int)
    for one in outcomes:
        answered[one.partition, (one.value or {})["command_offset"]] += 1
    for one in commands:
        times = answered.pop((one.partition, one.offset), 0)
        is_lost = ((one.value or {})["user_id"], one.offset) in lost
        if times != (" " not in one.key) and not (is_lost and times == 0):
            yield f"{one.key} at {one.partition}:{one.offset} was answered {times} times"
    if answered:
        yield f"outcomes of no command: {dict(answered)}"


def _broken_effects(
    events: list[LogRecord], outcomes: list[LogRecord], *, forgets: bool
) -> Iterator[str]:
    """Each acceptance has its version on the log; each event has an acceptance, and only one."""
    by_place = {((e.value or {})["user_id"], (e.value or {})["version"]): e for e in events}
    made: dict[tuple[int, str, str], int] = defaultdict(int)
    accepted: set[tuple[str, int, str]] = set()
    for one in outcomes:
        outcome = one.value or {}
        if outcome["status"] != "accepted":
            continue
        place = (outcome["user_id"], outcome["version"])
        accepted.add((*place, outcome["command_id"]))
        event = by_place.get(place)
        if event is None:
            yield f"{outcome['command_id']} was accepted, and {place} is not on the log"
        elif (event.value or {})["seq"] > outcome["seq"]:
            yield f"{outcome['command_id']}: its token does not cover its event"
    for record in events:
        made_by = record.value or {}
        made[record.partition, made_by["command_id"], made_by["user_id"]] += 1
        if (made_by["user_id"], made_by["version"], made_by["command_id"]) not in accepted:
            yield f"{record.key}: an event without an acceptance"
    twice = [key for key, times in made.items() if times > 1]
    if twice and not forgets:
        yield f"commands that took effect twice: {twice}"


def _broken_claims(events: Iterable[LogRecord], claims: Iterable[LogRecord]) -> Iterator[str]:
    """Users whose address belongs to another partition hold it there, and nothing is reserved."""
    latest = {(one.value or {})["user_id"]: one for one in events}
    wanted = set()
    for user_id, one in latest.items():
        user = (one.value or {})["user"]
        if user is not None:
            home = crc32(user["email_key"].encode()) % 4096 * PARTITIONS // 4096
            if home != one.partition:
                wanted.add((home, user["email_key"], user_id, "held"))
    last: dict[tuple[int, str], Fields | None] = {}
    for one in claims:
        last[one.partition, one.key] = one.value
    found = [
        (number, claim["email_key"], claim["user_id"], claim["status"])
        for (number, _), claim in last.items()
        if claim is not None
    ]
    if sorted(map(str, found)) != sorted(map(str, wanted)):
        yield f"claims are {found} instead of {wanted}"


def _unerased(events: Iterable[LogRecord], history: Iterable[LogRecord]) -> Iterator[str]:
    """Each earlier event of an erased user has a tombstone."""
    removed = {one.key for one in history if one.value is None}
    for one in events:
        event = one.value or {}
        if event["type"] == "UserErased":
            wanted = {f"{event['user_id']}:{version}" for version in range(1, event["version"])}
            if not wanted <= removed:
                yield f"{event['user_id']} was erased, not so {sorted(wanted - removed)}"


def _broken_rows(world: World, events: Iterable[LogRecord]) -> Iterator[str]:
    """The read model has the rows that the log says."""
    latest: dict[str, Stored] = {}
    every: dict[tuple[str, int], Stored] = {}
    for one in events:
        event = one.value or {}
        user_id, version, user = event["user_id"], event["version"], event["user"]
        row = (version, *((user["email"], user["name"], user["age"]) if user else ()))
        if event["type"] == "UserErased":
            every = {key: kept for key, kept in every.items() if key[0] != user_id}
        latest[user_id] = every[user_id, version] = row
    rows = [row for page in world.store.rows() for row in page]
    if world.store.source.every_event:
        wanted = [(user_id, row) for (user_id, _), row in every.items()]
    else:
        wanted = list(latest.items())
    if sorted(map(str, rows)) != sorted(map(str, wanted)):
        yield f"the read model has {sorted(map(str, set(rows) ^ set(wanted)))[:4]}"
