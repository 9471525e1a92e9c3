"""Each check of a history permits what a correct registry shows, and finds what none can show."""

from dataclasses import replace
from typing import Any

import pytest

from tests.histories.checks import broken
from tests.histories.history import Answer, Asked, History, Kind, Query

PARTITIONS = 3
# Of partition 0, 1 and 2 by the shard in the id.
JANE, JOHN, MARY = (
    f"01a0c450-6cd2-7{shard}-8000-00000000000{n}" for n, shard in enumerate(("0ff", "7ff", "fff"))
)
# `u0@example.com` belongs to partition 0, where Jane lives.
HERE = "u0@example.com"


def asked(kind: Kind, began: float, ended: float, answer: Answer | None, **fields: Any) -> Asked:
    """Return a command; its id follows from its times unless given."""
    fields = {"command_id": f"{kind}-{began:g}", **fields}
    return Asked("client", kind=kind, began=began, ended=ended, answer=answer, **fields)


def ok(user_id: str, version: int, seq: int = 1, **fields: Any) -> Answer:
    return Answer(accepted=True, user_id=user_id, version=version, seq=seq, **fields)


def no(code: str, user_id: str | None = None, version: int | None = None) -> Answer:
    return Answer(accepted=False, code=code, user_id=user_id, version=version)


def created(user_id: str = JANE, began: float = 1, email: str = HERE, **fields: Any) -> Asked:
    answer = ok(user_id, 1)
    one = asked("create", began, began + 1, answer, email=email, name="Jane", age=30)
    return replace(one, **fields)


def updated(version: int, began: float, name: str, **fields: Any) -> Asked:
    answer = ok(JANE, version, seq=version)
    one = asked("update", began, began + 1, answer, user_id=JANE, name=name)
    return replace(one, **fields)


def deleted(version: int, began: float, ended: float | None = None) -> Asked:
    end = began + 1 if ended is None else ended
    return asked("delete", began, end, ok(JANE, version, seq=version), user_id=JANE)


def moved(user_id: str, version: int, began: float, email: str, **fields: Any) -> Asked:
    answer = ok(user_id, version, seq=version)
    one = asked("change", began, began + 1, answer, user_id=user_id, email=email)
    return replace(one, **fields)


def seen(version: int | None, began: float, name: str = "Jane", **fields: Any) -> Query:
    state = (HERE, name, 30) if version else None
    return replace(Query("reader", JANE, began, began + 1, {}, version, state), **fields)


def history(*entries: Asked | Query, **fields: Any) -> History:
    commands = [one for one in entries if isinstance(one, Asked)]
    queries = [one for one in entries if isinstance(one, Query)]
    return History(PARTITIONS, commands, queries, quiet=[1_000], **fields)


UNKNOWN = asked("update", 3, 4, None, user_id=JANE, name="June")
GOOD = {
    "a life": history(created(), updated(2, 3, "Joan"), deleted(3, 5), seen(2, 4, "Joan")),
    "an update that changes nothing": history(created(), updated(1, 3, "Jane")),
    "an unknown command that happened": history(created(), UNKNOWN, seen(2, 6, "June")),
    "an unknown command that only a conflict tells of": history(
        created(),
        UNKNOWN,
        asked("update", 5, 6, no("version_conflict", JANE, 2), user_id=JANE, expected_version=1),
    ),
    "an unknown command that did not happen": history(created(), UNKNOWN, updated(2, 7, "Joan")),
    "concurrent updates in either order": history(
        created(), updated(3, 3, "Joan", ended=9), updated(2, 4, "June", ended=8)
    ),
    "an address that was left": history(created(), deleted(2, 3), created(JOHN, 5)),
    "a refusal while the address was held": history(
        created(),
        asked("create", 3, 6, no("user_already_exists", JANE), email=HERE, name="J", age=1),
        deleted(2, 4),
    ),
    "an address that was left late, because it belongs to another partition": history(
        created(JOHN, email="elsewhere@example.com"),
        moved(JOHN, 2, 3, HERE),
        asked("delete", 5, 6, ok(JOHN, 3), user_id=JOHN),
        asked("create", 8, 9, no("user_already_exists", JOHN), email=HERE, name="J", age=1),
    ),
    "a repeat with the same answer": history(
        created(command_id="c"),
        created(began=4, command_id="c", answer=ok(JANE, 1, repeated=True)),
    ),
    "an erasure that changed nothing after one without an answer": history(
        created(),
        asked("erase", 3, 4, None, user_id=JANE),
        asked("update", 5, 6, no("user_not_found", JANE, 2), user_id=JANE, name="J"),
        replace(seen(2, 7), state=None),
        asked("erase", 9, 10, ok(JANE, 2, seq=2), user_id=JANE),
    ),
    "a query without a token that is behind": history(created(), updated(2, 3, "J"), seen(1, 9)),
    "nothing was sent": history(
        created(), updated(2, 3, "Joan", was_sent=False, answer=None), updated(2, 5, "June")
    ),
}
BAD = {
    "a version that nothing made": history(created(), updated(3, 3, "Joan")),
    "one version for two changes": history(created(), updated(2, 3, "Joan"), updated(2, 5, "June")),
    "an older version after a newer one": history(
        created(), updated(3, 3, "Joan"), updated(2, 5, "June")
    ),
    "a change of another version than expected": history(
        created(), updated(2, 3, "Joan", expected_version=5)
    ),
    "a conflict with a version that nothing made": history(
        created(),
        asked("update", 3, 4, no("version_conflict", JANE, 2), user_id=JANE, expected_version=1),
    ),
    "a conflict with the expected version": history(
        created(),
        asked("update", 3, 4, no("version_conflict", JANE, 1), user_id=JANE, expected_version=1),
    ),
    "a live user that is not found": history(
        created(), asked("update", 3, 4, no("user_not_found"), user_id=JANE, name="J")
    ),
    "a state that nobody asked for": history(created(), seen(1, 4, "Somebody")),
    "a read before the command was sent": history(
        created(), updated(2, 8, "Joan"), seen(2, 3, "Joan")
    ),
    "an unknown command that happened twice": history(
        created(), UNKNOWN, updated(3, 5, "Joan"), seen(4, 9, "June")
    ),
    "an address with two holders": history(created(), created(JOHN, 4)),
    "an address that is taken before it is left": history(
        created(), created(JOHN, 4), deleted(2, 8)
    ),
    "a refusal after the address was left": history(
        created(),
        deleted(2, 3),
        asked("create", 6, 7, no("user_already_exists", JANE), email=HERE, name="J", age=1),
    ),
    "a refusal that names somebody who never asked": history(
        created(),
        asked("create", 6, 7, no("user_already_exists", MARY), email=HERE, name="J", age=1),
    ),
    "a repeat with another answer": history(
        created(command_id="c"), created(JOHN, 4, command_id="c")
    ),
    "two decisions about an unknown command": history(
        created(command_id="c"),
        found={"c": [ok(JANE, 1), ok(JOHN, 1)]},
    ),
    "a token whose write is not seen": history(
        created(), updated(2, 3, "Joan"), seen(1, 6, tokens={0: 2})
    ),
    "a write that is unseen again": history(
        created(), updated(2, 3, "Joan"), seen(2, 5, "Joan"), seen(1, 8)
    ),
    "a user that vanished": history(created(), seen(None, 6, tokens={0: 1})),
    "decided although nothing was sent": history(
        created(),
        updated(2, 3, "Joan", was_sent=False, answer=None, command_id="c"),
        found={"c": [ok(JANE, 2)]},
    ),
    "seen although nothing was sent": history(
        created(), updated(2, 3, "Joan", was_sent=False, answer=None), seen(2, 6, "Joan")
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_of_a_correct_registry_is_permitted(name: str) -> None:
    assert list(broken(GOOD[name])) == []


@pytest.mark.parametrize("name", BAD)
def test_what_no_correct_registry_shows_is_found(name: str) -> None:
    assert list(broken(BAD[name])) != []


def test_a_store_that_lost_transactions_may_show_an_older_version_without_a_token() -> None:
    found = replace(BAD["a write that is unseen again"], forgets_reads=True)
    assert list(broken(found)) == []
    read = replace(found.queries[-1], tokens={0: 2})
    assert list(broken(replace(found, queries=[read]))) != []


def test_a_command_whose_answer_was_deleted_may_have_reserved_an_address() -> None:
    lost = asked("change", 3, 4, None, user_id=JOHN, email=HERE, command_id="c")
    refused = asked("create", 5, 6, no("user_already_exists", JOHN), email=HERE, name="J", age=1)
    entries = (created(JOHN, email="elsewhere@example.com"), lost, refused)
    assert list(broken(history(*entries, found={}, lost={"c"}))) == []
    assert list(broken(history(*entries, found={}))) != []


def test_where_ids_are_forgotten_a_repeated_command_may_be_decided_again() -> None:
    first = updated(2, 3, "Joan", command_id="c")
    again = updated(4, 9, "Joan", command_id="c")
    entries = (created(), first, updated(3, 6, "June"), again)
    assert list(broken(history(*entries))) != []
    assert list(broken(history(*entries, remembers_ids=False))) == []


def test_a_command_that_was_sent_again_may_have_been_decided_only_then() -> None:
    """Its first sending never arrived, although all was quiet before the second one."""
    conflict = no("version_conflict", JANE, 2)
    change = asked("change", 14, 15, None, user_id=JANE, email="u4@example.com", expected_version=1)
    again = replace(change, began=22, ended=29, answer=conflict)
    update = asked("update", 23, 24, None, user_id=JANE, name="Jane Roe")
    entries = [created(), change, again, update]
    found = {change.command_id: [conflict], update.command_id: [ok(JANE, 2, 2)]}
    assert list(broken(replace(history(*entries, found=found), quiet=[17.0, 30.0]))) == []
