"""What a restore writes follows from the backup and the erasures alone."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import Rejected
from schemas.identity import email_shard, new_user_id
from schemas.records import CommandOutcome, UserEvent
from scripts.backup.erasures import read_erasures
from scripts.backup.plan import (
    EventFiles,
    PartitionPlan,
    claim_of,
    commands_of,
    outcome_of,
    outcomes_of,
)
from tests.samples.events import event_of, user_id_of
from tests.samples.given import NOW, address_in, create, home_of, update
from tests.unit.scripts.backup.copies import add_part

JANE, JOE = "jane@example.com", "joe@example.com"
JANE_ID = user_id_of(JANE)


def plan_of(folder: Path, *parts: list[UserEvent], erasures: tuple[str, ...] = ()) -> PartitionPlan:
    """Return the plan of a partition of a backup with these parts."""
    found = [add_part(folder, [events]) for events in parts]
    return PartitionPlan(EventFiles(found, 0), set(erasures))


def brief(plan: PartitionPlan) -> list[tuple[Any, ...]]:
    return [(e["seq"], e["version"], e["type"], latest) for e, latest in plan.events()]


def test_every_event_is_restored_and_the_latest_of_each_user_twice(tmp_path: Path) -> None:
    """In the order of seq, over all parts."""
    first = [event_of(JANE, seq=1), event_of(JOE, seq=2)]
    second = [event_of(JANE, 2, seq=3)]
    plan = plan_of(tmp_path, first, second)
    expected = [(1, 1, False), (2, 1, True), (3, 2, True)]
    assert [(seq, version, latest) for seq, version, _, latest in brief(plan)] == expected
    assert (plan.seq, plan.users, plan.erasures) == (3, 2, 0)
    assert list(plan.events()) == list(plan.events())


def test_of_a_user_erased_in_a_later_part_only_the_marker_is_restored(tmp_path: Path) -> None:
    erased = event_of(JANE, 2, seq=3, type="UserErased", gone=True)
    plan = plan_of(tmp_path, [event_of(JANE, seq=1), event_of(JOE, seq=2)], [erased])
    assert [(seq, kind) for seq, _, kind, _ in brief(plan)] == [
        (2, "UserUpdated"),
        (3, "UserErased"),
    ]


def test_an_erasure_that_is_given_is_an_event_after_the_cut(tmp_path: Path) -> None:
    """As the handler would have written it: next seq, next version, an answer, no personal data."""
    plan = plan_of(
        tmp_path,
        [event_of(JANE, seq=1), event_of(JANE, 2, seq=2), event_of(JOE, seq=3, occurred_at=9)],
        erasures=(JANE_ID, user_id_of("unknown@example.com")),
    )
    assert brief(plan) == [(3, 1, "UserUpdated", True), (4, 3, "UserErased", True)]
    [marker] = plan.markers()
    assert (marker["user_id"], marker["user"], marker["changes"]) == (JANE_ID, None, [])
    assert marker["occurred_at"] == 9
    answer = outcome_of(marker)
    assert (answer["command_id"], answer["seq"], answer["version"]) == (marker["command_id"], 4, 3)
    assert (plan.seq, plan.erasures) == (4, 1)


def test_an_erasure_of_an_erased_user_changes_nothing(tmp_path: Path) -> None:
    erased = event_of(JANE, 2, seq=2, type="UserErased", gone=True)
    plan = plan_of(tmp_path, [event_of(JANE, seq=1), erased], erasures=(JANE_ID,))
    assert brief(plan) == [(2, 2, "UserErased", True)]
    assert plan.erasures == 0


def test_an_empty_partition_has_no_events(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [], erasures=(JANE_ID,))
    assert (brief(plan), plan.seq, plan.users) == ([], 0, 0)


def test_a_user_away_from_home_has_a_claim_on_the_address() -> None:
    """Its key has offset 0, which no command of the new log has."""
    home = home_of(JANE)
    away = address_in((home + 1) % 4)
    moved = event_of(JANE, 2, email=away, email_key=away, command_id="move")
    found = claim_of(moved, home, 4)
    assert found is not None
    there, claim = found
    assert there == home_of(away)
    assert (claim["user_id"], claim["email_key"], claim["status"]) == (JANE_ID, away, "held")
    assert claim["command_offset"] == 0
    assert claim_of(event_of(JANE), home, 4) is None
    assert claim_of(event_of(JANE, 2, gone=True), home, 4) is None


def test_commands_about_the_erased_are_left_out(tmp_path: Path) -> None:
    """However the client wrote the id, whoever says that the user is erased."""
    erased = event_of(JOE, 2, seq=3, type="UserErased", gone=True)
    events = [event_of(JANE, seq=1), event_of(JOE, seq=2), erased]
    plan = plan_of(tmp_path, events, erasures=(JANE_ID,))
    for user_id in (JANE_ID, JANE_ID.upper(), JANE_ID.replace("-", ""), user_id_of(JOE)):
        assert not plan.keeps(update(user_id)), user_id
    assert plan.keeps(update(user_id_of("ann@example.com")))
    assert plan.keeps(update("no id"))


def test_a_creation_that_may_bring_back_an_erased_user_is_left_out(tmp_path: Path) -> None:
    """The backup does not know the user: only the shard of the address is in the id."""
    unknown = new_user_id(email_shard("ann@example.com"), NOW, 7)
    plan = plan_of(tmp_path, [event_of(JANE, seq=1)], erasures=(unknown, JANE_ID))
    assert not plan.keeps(create("Ann@example.com"))
    assert plan.keeps(create(JOE))
    assert plan.keeps(create(JANE))  # the address of a known user is free again


def test_answers_and_commands_are_those_of_the_partition(tmp_path: Path) -> None:
    one: Any = {
        "command_id": "c",
        "command_offset": 9,
        "decided_at": 1,
        "digest": b"12345678",
        "status": "accepted",
        "user_id": JANE_ID,
        "version": 1,
        "seq": 1,
        "code": None,
        "message": None,
        "repeated": False,
    }
    answer: CommandOutcome = one
    commands = [(0, update(JANE_ID)), (1, update(user_id_of(JOE))), (1, update(JANE_ID))]
    part = add_part(tmp_path, [[], []], outcomes=[(1, answer)], commands=commands)
    assert list(outcomes_of(part, 0)) == []
    assert list(outcomes_of(part, 1)) == [answer]
    assert list(commands_of(part, 1)) == [update(user_id_of(JOE)), update(JANE_ID)]


def test_erasures_are_ids_or_objects_with_an_id(tmp_path: Path) -> None:
    file = tmp_path / "erased.txt"
    file.write_text(f'{JANE_ID.upper()}\n\n{{"user_id": "{user_id_of(JOE)}", "seq": 3}}\n', "utf-8")
    assert read_erasures(file) == {JANE_ID, user_id_of(JOE)}


@pytest.mark.parametrize("line", ["jane@example.com", "{}", "{", '{"user_id": 7}', "[]", "\udc80"])
def test_any_other_line_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    """Without quoting it: it may be an address."""
    file = tmp_path / "erased.txt"
    file.write_bytes(f"{JANE_ID}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(Rejected, match=r"line 2 of .*erased\.txt is not a user id") as error:
        read_erasures(file)
    assert error.value.code == "invalid_erasures"
    assert "jane" not in str(error.value)
