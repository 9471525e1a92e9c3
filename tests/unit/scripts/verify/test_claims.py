"""`rollbook verify` detects a violation of every promise about claims."""

from typing import Any

from schemas.identity import email_shard, partition_of
from scripts.verify.checks.claims import Claim, ClaimChecks, fold_claims
from scripts.verify.facts import Check, Entry, Last, last_of
from tests.samples.events import user_id_of
from tests.samples.given import address_in
from tests.unit.scripts.verify.forged import HOME, ID, JANE, PARTITIONS, event, gone

AWAY = (HOME + 1) % PARTITIONS
NEW = address_in(AWAY)
OTHER = user_id_of(JANE, 1)


def moved(seq: int = 2, version: int = 2) -> Any:
    """Jane, who lives at HOME, after she took an address of AWAY."""
    changed = event(seq, version)
    changed["user"] |= {"email": NEW, "email_key": NEW}
    return changed


def claim(key: str = "k", user_id: str = ID, status: str = "held", email: str = NEW) -> Entry:
    record = {"claim_id": "c", "email_key": email, "user_id": user_id, "status": status}
    return Entry(AWAY, 0, key, record)


def found(
    claims: list[Entry], users: dict[str, Last], moving: frozenset[str] = frozenset()
) -> tuple[ClaimChecks, list[Check]]:
    """Return the checks after one reading, and those of them that are broken."""
    checks = ClaimChecks(PARTITIONS)
    folded: list[Claim] = list(fold_claims(claims).values())
    checks.finish(folded, users, [checks.suspects(folded, users, moving)])
    return checks, [check for check in checks.checks() if not check.holds]


MOVED = {ID: last_of(moved())}


def test_a_user_in_another_partition_than_its_address_with_a_claim_is_valid() -> None:
    assert partition_of(email_shard(NEW), PARTITIONS) == AWAY
    checks, broken = found([claim()], MOVED)
    assert not broken
    assert checks.held.looked_at == checks.away.looked_at == 1


def test_a_user_in_another_partition_than_its_address_without_a_claim_is_found() -> None:
    """Its address is not held there: the next user to ask would get it too."""
    for claims in ([], [claim(), Entry(AWAY, 1, "k", None)], [claim(status="reserved")]):
        checks, broken = found(claims, MOVED)
        assert checks.away in broken
        assert ID in checks.away.examples[0]
        assert NEW not in str(checks.away.examples)


def test_a_claim_of_the_wrong_user_is_found() -> None:
    """A claim of a user who is gone, unknown, has moved, or is a different one."""
    for last in (last_of(gone(3, 3)), last_of(event(3, 3)), None):
        checks, broken = found([claim()], {ID: last} if last else {})
        assert broken == [checks.held]
    checks, broken = found([claim(user_id=OTHER)], MOVED)
    assert broken == [checks.held, checks.away]
    native = user_id_of(NEW)
    at_home = {native: last_of(event(1, email=NEW))}
    checks, broken = found([claim(user_id=native)], at_home)
    assert broken == [checks.held]


def test_two_claims_on_one_address_are_found() -> None:
    checks, broken = found([claim(), claim("other", OTHER)], MOVED)
    assert broken == [checks.held]
    assert "as k" in "".join(checks.held.examples)


def test_a_user_may_reserve_its_own_address_while_messages_are_in_transit() -> None:
    """By another change of the same user to the same address."""
    both = [claim("early", status="reserved"), claim(), claim("late", status="reserved")]
    assert not found(both, MOVED, frozenset({ID}))[1]
    checks, broken = found([claim(), claim("twice")], MOVED, frozenset({ID}))
    assert broken == [checks.held]


def test_a_reservation_is_valid_only_while_messages_are_in_transit() -> None:
    at_home = {ID: last_of(event(1))}
    checks, broken = found([claim(status="reserved")], at_home)
    assert broken == [checks.reserved]
    assert not found([claim(status="reserved")], at_home, frozenset({ID}))[1]


def test_what_is_right_in_any_reading_is_not_reported() -> None:
    """A change progresses between the readings of its topics."""
    checks = ClaimChecks(PARTITIONS)
    claims = list(fold_claims([claim()]).values())
    readings = [checks.suspects(claims, users, frozenset()) for users in ({}, MOVED)]
    checks.finish(claims, MOVED, readings)
    assert readings[0]
    assert all(check.holds for check in checks.checks())
