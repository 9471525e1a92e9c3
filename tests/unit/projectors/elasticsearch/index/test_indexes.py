"""The names of indexes, and documents for an index that an older rollbook created."""

from typing import Any

import pytest

from projectors.elasticsearch.index.indexes import (
    USERS,
    DocumentShape,
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
def test_the_name_of_an_index_has_the_number_of_its_version(index: str, number: int | None) -> None:
    """Aliases and indexes of another registry are not versions."""
    assert number_of(SETTINGS, index) == number


def test_a_number_is_never_reused() -> None:
    """The alias of a dropped version still counts."""
    assert next_number(SETTINGS, {}) == 1
    checkpoints: dict[str, Any] = {
        "aliases": {used_alias(users_index(SETTINGS, 7)): {}, "a-checkpoints": {}}
    }
    live: dict[str, Any] = {"aliases": {"a-rollbook-users": {}, "a-rollbook-users-2-write": {}}}
    indexes = {"a-rollbook-users-2": live, "a-rollbook-checkpoints-1": checkpoints}
    assert next_number(SETTINGS, indexes) == 8


def test_an_older_index_gets_only_the_fields_it_has() -> None:
    """So a newer rollbook keeps the live version up to date while it builds a new one."""
    older = set(USERS.fields) - {"age_group"}
    make = document_for(USERS, "users", 1, older)
    assert set(make(JANE)) == older
    assert set(make(user_event(1, gone=True))) == {"user_id", "version", "updated_at", "gone"}


def test_a_current_index_gets_the_document_function_unwrapped() -> None:
    assert document_for(USERS, "users", 1, USERS.fields) is document


def test_an_index_with_an_unknown_field_is_refused() -> None:
    """Its documents would silently lack that field."""
    with pytest.raises(Misconfigured, match="initials") as misconfigured:
        document_for(USERS, "users", 2, {*USERS.fields, "initials"})
    assert misconfigured.value.code == "other_shape"
    made = document_for(
        DocumentShape({"initials": {}}, lambda _: {"initials": "J"}), "users", 2, ["initials"]
    )
    assert made(JANE) == {"initials": "J"}
