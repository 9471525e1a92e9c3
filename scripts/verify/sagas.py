"""Reads changes of address that may be under way, several times over while they move."""

import time

from runtime.settings import Settings
from schemas.topics import EMAILS, EVENTS, HOPS, OUTCOMES
from scripts.verify.claim_checks import Claim, ClaimChecks, Suspect, fold_claims
from scripts.verify.decided import Open
from scripts.verify.log_checks import LogChecks
from scripts.verify.reader import LogReader

# A change takes five hops of some milliseconds each: one that looks stuck all this time is stuck.
_READINGS = 5
_BETWEEN_SECONDS = 0.3


def look_at_sagas(
    settings: Settings,
    reader: LogReader,
    log: LogChecks,
    waiting: list[Open],
    *,
    tails: dict[int, int],
    outcome_tails: dict[int, int],
) -> tuple[ClaimChecks, set[Open]]:
    """Return the checks of claims, and those of `waiting` that are answered by now or under way.

    Brings `log` up to date; the tails are the offsets up to which it and the outcomes were read.
    """
    checks = ClaimChecks(settings.partitions)
    readings: list[set[Suspect]] = []
    settled: set[Open] = set()
    while True:
        moving, changes = _under_way(settings, reader)
        for partition in range(settings.partitions):
            log.later(reader.read(EVENTS, partition, tails[partition]))
        claims = _claims(settings, reader)
        readings.append(checks.suspects(claims, log.users, moving))
        settled |= {one for one in waiting if one.command_id in changes}
        settled |= _answered(reader, set(waiting) - settled, outcome_tails)
        is_clear = not set.intersection(*readings) and settled.issuperset(waiting)
        if is_clear or len(readings) == _READINGS:
            break
        time.sleep(_BETWEEN_SECONDS)
    checks.finish(claims, log.users, readings)
    return checks, settled


def _under_way(settings: Settings, reader: LogReader) -> tuple[set[str], set[str]]:
    """Return users and claim ids of the hops that no handler has taken yet."""
    users, claim_ids = set(), set()
    for partition in range(settings.partitions):
        start = max(0, reader.committed(partition, HOPS))
        for entry in reader.read(HOPS, partition, start):
            if entry.record is not None:
                users.add(entry.record["user_id"])
                claim_ids.add(entry.record["claim_id"])
    return users, claim_ids


def _claims(settings: Settings, reader: LogReader) -> list[Claim]:
    return [
        claim
        for partition in range(settings.partitions)
        for claim in fold_claims(reader.read(EMAILS, partition)).values()
    ]


def _answered(reader: LogReader, waiting: set[Open], tails: dict[int, int]) -> set[Open]:
    answered = set()
    for partition in {one.partition for one in waiting}:
        entries = reader.read(OUTCOMES, partition, tails[partition])
        offsets = {entry.record["command_offset"] for entry in entries if entry.record}
        answered |= {one for one in waiting if one.partition == partition and one.offset in offsets}
    return answered
