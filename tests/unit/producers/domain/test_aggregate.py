"""Every rule of the aggregate, without a log: given events → when command → then events."""

from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from producers.domain.aggregate import (
    ChangeEmail,
    Command,
    CreateUser,
    DeleteUser,
    EraseUser,
    EventSlot,
    UpdateUser,
    UserCommand,
    decide,
    evolve,
)
from producers.domain.parse import address_of, user_id_of
from producers.domain.snapshot import UserSnapshot, snapshot_of
from schemas.errors import Rejected
from schemas.identity import email_shard, new_user_id
from schemas.records import EventType, User, UserEvent

JANE, OTHER = "jane@example.com", "jane.doe@example.com"
NOW = 1_790_000_000_000
ID = user_id_of(new_user_id(email_shard(JANE), NOW, 1))
HOLDER = new_user_id(email_shard(OTHER), NOW, 2)


def create(command_id: str = "create", email: str = JANE) -> CreateUser:
    return CreateUser(command_id, address_of(email), "Jane", 34)


def update(name: str | None = None, age: int | None = None, version: int | None = None) -> Command:
    return UpdateUser("update", ID, name, age, version)


def change_email(email: str, version: int | None = None) -> ChangeEmail:
    return ChangeEmail("change", ID, address_of(email), version)


@dataclass
class Story:
    """Events that happened to one user, and what a command does then."""

    events: list[UserEvent]
    holder_id: str | None = None

    def when(self, command: Command) -> list[UserEvent]:
        """Return the events that `command` causes, or raise `Rejected`."""
        known: UserSnapshot | None = snapshot_of(self.events[-1]) if self.events else None
        slot = EventSlot(len(self.events) + 1, NOW + len(self.events), ID.text)
        return decide(known, command, slot, holder_id=self.holder_id)


def given(*commands: Command) -> Story:
    """Return the story in which `commands` were accepted one after the other."""
    story = Story([])
    for command in commands:
        story.events += story.when(command)
    return story


def test_a_creation_makes_the_user_at_version_one() -> None:
    [event] = given().when(create())
    assert event == {
        "event_id": f"{ID.text}:1",
        "command_id": "create",
        "seq": 1,
        "user_id": ID.text,
        "version": 1,
        "occurred_at": NOW,
        "type": "UserCreated",
        "changes": [],
        "issued_by": None,
        "user": {
            "email": JANE,
            "email_key": JANE,
            "name": "Jane",
            "age": 34,
            "created_at": NOW,
            "created_by": "create",
        },
    }


@pytest.mark.parametrize("command", [create("second"), change_email(OTHER)])
def test_an_address_that_another_user_holds_is_refused(command: Command) -> None:
    story = given() if isinstance(command, CreateUser) else given(create())
    story.holder_id = HOLDER
    with pytest.raises(Rejected) as refused:
        story.when(command)
    assert (refused.value.code, refused.value.user_id) == ("user_already_exists", HOLDER)


def test_an_update_records_each_field_before_and_after() -> None:
    [event] = given(create()).when(update("Jane Doe", 35))
    assert (event["type"], event["version"], event["seq"]) == ("UserUpdated", 2, 2)
    assert event["changes"] == [
        {"field": "name", "before": "Jane", "after": "Jane Doe"},
        {"field": "age", "before": 34, "after": 35},
    ]


@pytest.mark.parametrize("command", [update("Jane"), update(age=34), change_email(JANE)])
def test_a_command_that_changes_nothing_makes_no_event(command: Command) -> None:
    assert given(create()).when(command) == []


def test_the_same_address_in_another_case_is_a_change() -> None:
    [event] = given(create()).when(change_email("Jane@example.com"))
    assert event["user"] is not None
    assert (event["user"]["email"], event["user"]["email_key"]) == ("Jane@example.com", JANE)


@pytest.mark.parametrize("end", [DeleteUser("end", ID), EraseUser("end", ID)])
def test_a_user_who_is_gone_can_only_be_erased(end: UserCommand) -> None:
    story = given(create(), end)
    for command in (update("J"), change_email(OTHER), DeleteUser("again", ID)):
        with pytest.raises(Rejected) as refused:
            story.when(command)
        assert refused.value.code == "user_not_found"
    erased = story.when(EraseUser("erase", ID))
    assert [event["type"] for event in erased] == (
        [] if isinstance(end, EraseUser) else ["UserErased"]
    )


def test_a_user_who_never_existed_cannot_be_erased() -> None:
    with pytest.raises(Rejected) as refused:
        given().when(EraseUser("erase", ID))
    assert refused.value.code == "user_not_found"


@pytest.mark.parametrize(
    "command",
    [
        update("J", version=2),
        change_email(JANE, version=2),
        DeleteUser("end", ID, 2),
        EraseUser("end", ID, 2),
    ],
)
def test_an_expected_version_must_be_the_users(command: UserCommand) -> None:
    with pytest.raises(Rejected) as refused:
        given(create()).when(command)
    assert refused.value.code == "version_conflict"
    assert given(create()).when(command._replace(expected_version=1)) is not None


def test_a_deletion_records_the_old_values_and_an_erasure_none() -> None:
    [deleted] = given(create()).when(DeleteUser("end", ID))
    assert [change["before"] for change in deleted["changes"]] == [JANE, "Jane", 34]
    [erased] = given(create()).when(EraseUser("end", ID))
    assert (erased["type"], erased["changes"], erased["user"]) == ("UserErased", [], None)


def test_a_command_without_a_rule_is_a_programmers_error() -> None:
    """A new command type is never decided as one of the others."""
    unknown: Any = ("promote", ID)
    with pytest.raises(AssertionError):
        given(create()).when(unknown)


_names = st.sampled_from(["Jane", "Joe", "Zoë"])
_ages = st.integers(0, 3)
_emails = st.sampled_from([JANE, OTHER, "Jane@example.com", "JANE.DOE@example.com"])
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(create, email=_emails),
    st.builds(update, name=st.none() | _names, age=st.none() | _ages),
    st.builds(change_email, _emails),
    st.just(DeleteUser("end", ID)),
    st.just(EraseUser("end", ID)),
)


@any_of(st.lists(_commands, max_size=12))
def test_replayed_events_give_the_state_that_each_carries(
    commands: list[Command],
) -> None:
    """The history suffices; the states that events carry are not needed."""
    story, user = Story([]), None
    for command in commands:
        if isinstance(command, CreateUser) and story.events:
            continue  # the handler gives every creation a new id
        try:
            events = story.when(command)
        except Rejected:
            continue
        for event in events:
            user = evolve(user, event)
            assert user == event["user"]
        story.events += events


@pytest.mark.parametrize("kind", get_args(EventType))
def test_evolve_uses_the_changes_and_not_the_carried_state(kind: EventType) -> None:
    """Except for what changes cannot express: a creation, and the key of an address."""
    [event] = given().when(create())
    carried = event["user"]
    assert carried is not None
    forged: User = {**carried, "name": "Forged", "email_key": "forged"}
    after = evolve(carried, {**event, "type": kind, "user": forged})
    expected: dict[EventType, User | None] = {
        "UserCreated": forged,
        "UserUpdated": carried,
        "UserEmailChanged": {**carried, "email_key": "forged"},
    }
    assert after == expected.get(kind)
