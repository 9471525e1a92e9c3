import json

from projectors.elasticsearch.index.bulk import bulk_lines
from projectors.elasticsearch.index.mapping import USER_FIELDS, document
from schemas.records import USER_CREATED, USER_DELETED, UserEvent

JANE = UserEvent(
    event_id="018bcfe5-6800-7209-878b-fae2414c343c:3",
    command_id="c",
    seq=7,
    user_id="018bcfe5-6800-7209-878b-fae2414c343c",
    version=3,
    occurred_at=1_700_000_000_001,
    type=USER_CREATED,
    changes=[],
    user={
        "email": "Jané.Doe@example.com",
        "email_key": "jané.doe@example.com",
        "name": "Jané Dœ",
        "age": 70,
        "created_at": 1_700_000_000_000,
        "created_by": "c",
    },
)
GONE = UserEvent(**{**JANE, "version": 4, "type": USER_DELETED, "user": None})


def test_a_document_has_every_field_of_the_strict_mapping() -> None:
    """A field the mapping does not know would be refused; one that is missing cannot be found."""
    assert set(document(JANE)) == set(USER_FIELDS)


def test_a_document_keeps_what_was_written_and_folds_what_is_searched() -> None:
    """The answer shows accents; the search does not need them."""
    found = document(JANE)
    assert (found["name"], found["name_folded"]) == ("Jané Dœ", "jane doe")
    assert found["email_folded"] == "example com"
    assert found["email_domain"] == "example.com"
    assert found["age_group"] == "senior"


def test_a_user_who_is_gone_leaves_a_marker_without_personal_data() -> None:
    """A late event finds the marker's version and cannot bring the user back."""
    assert document(GONE) == {
        "user_id": JANE["user_id"],
        "version": 4,
        "updated_at": 1_700_000_000_001,
        "gone": True,
    }


def test_the_users_version_is_the_documents() -> None:
    """An older event never replaces a newer one."""
    action, content = bulk_lines(JANE, document).splitlines()
    assert json.loads(action) == {
        "index": {"_id": JANE["user_id"], "version": 3, "version_type": "external"}
    }
    assert json.loads(content) == document(JANE)
