"""The names of the indexes, and documents for an index that is older than this rollbook."""

from typing import Any

import pytest

from projectors.elasticsearch.index.indexes import (
    USERS,
    Shape,
    document_for,
    next_number,
    number_of,
    used_alias,
    users_index,
)
from projectors.elasticsearch.index.mapping import document
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured

SETTINGS = Settings(prefix="a")
JANE = user_event(1)


@pytest.mark.parametrize(
    ("index", "number"),
    [
        ("a-rollbook-users-12", 12),
        ("a-rollbook-users-12-write", None),
        ("a-rollbook-users-", None),
        ("b-a-rollbook-users-1", None),
        ("a-rollbook-checkpoints-1", None),
    ],
)
def test_a_version_is_known_by_the_name_of_its_index(index: str, number: int | None) -> None:
    """Neither an alias nor another registry's index is taken for one."""
    assert number_of(SETTINGS, index) == number


def test_a_number_is_given_once() -> None:
    """The greatest one may have been dropped; the alias it left behind still counts."""
    assert next_number(SETTINGS, {}) == 1
    checkpoints: dict[str, Any] = {
        "aliases": {used_alias(users_index(SETTINGS, 7)): {}, "a-checkpoints": {}}
    }
    live: dict[str, Any] = {"aliases": {"a-rollbook-users": {}, "a-rollbook-users-2-write": {}}}
    there = {"a-rollbook-users-2": live, "a-rollbook-checkpoints-1": checkpoints}
    assert next_number(SETTINGS, there) == 8


def test_an_older_index_gets_the_fields_it_has() -> None:
    """So a newer rollbook keeps the version that is live up to date while it builds its own."""
    older = set(USERS.fields) - {"age_group"}
    make = document_for(USERS, "users-1", older)
    assert set(make(JANE)) == older
    assert set(make(user_event(1, gone=True))) == {"user_id", "version", "updated_at", "gone"}


def test_an_index_of_our_own_costs_nothing_more() -> None:
    assert document_for(USERS, "users-1", USERS.fields) is document


def test_an_index_with_a_field_that_nobody_here_fills_is_refused() -> None:
    """It would be written without, and nobody would know."""
    with pytest.raises(Misconfigured, match="initials") as misconfigured:
        document_for(USERS, "users-2", {*USERS.fields, "initials"})
    assert misconfigured.value.code == "other_shape"
    made = document_for(
        Shape({"initials": {}}, lambda _: {"initials": "J"}), "users-2", ["initials"]
    )
    assert made(JANE) == {"initials": "J"}
