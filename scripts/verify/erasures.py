"""What an erasure must leave in `user-history`: the user's marker, and tombstones for the rest."""

from collections.abc import Mapping, Sequence

from schemas.identity import history_key
from scripts.verify.facts import Fact, Last
from scripts.verify.findings import Check


def check_erasures(
    check: Check,
    partition: int,
    facts: Sequence[Fact],
    users: Mapping[str, Last],
    tombstones: Mapping[str, int],
    *,
    cut: int,
) -> None:
    """Check one partition: of the erased all but the marker is removed, of others nothing.

    `tombstones` maps the keys removed to how many facts stood before. What was decided after seq
    `cut` is passed over: marker and tombstones are one transaction, a reading may see half of it.
    """
    markers = {user_id: last.version for user_id, last in users.items() if last.erased}
    recent = {user_id for user_id, last in users.items() if last.seq > cut}
    for user_id in markers.keys() - recent:
        if users[user_id].tells:
            check.report(f"partition {partition}: the marker of user {user_id} tells of it")
    check.looked_at += len(facts)
    for at, fact in enumerate(facts):
        removed = tombstones.get(history_key(fact.user_id, fact.version), -1) > at
        must_be = fact.version < markers.get(fact.user_id, 0)
        if fact.user_id not in recent and removed != must_be:
            state = "was removed" if removed else "is still there"
            check.report(
                f"partition {partition}: user {fact.user_id} version {fact.version} {state}"
            )
    kept = {history_key(fact.user_id, fact.version) for fact in facts} if tombstones else set()
    for key in tombstones.keys() - kept:
        user_id, _, version = key.rpartition(":")
        if user_id not in recent and int(version) >= markers.get(user_id, 0):
            check.report(f"partition {partition}: {key} was removed")
