import json

from projectors.elasticsearch.index.bulk import bulk_lines
from projectors.elasticsearch.index.mapping import USER_FIELDS, document
from schemas.records import USER_DELETED
from tests.samples.events import event_of

JANE = event_of("Jané.Doe@example.com", 3, name="Jané Dœ", age=70)
DELETED = event_of("Jané.Doe@example.com", 4, type=USER_DELETED, gone=True)


def test_a_document_has_every_field_of_the_strict_mapping() -> None:
    """Elasticsearch would refuse a field that is not in the mapping."""
    assert set(document(JANE)) == set(USER_FIELDS)


def test_a_document_has_the_original_text_and_the_folded_text() -> None:
    """Results show accents; searches ignore them."""
    found = document(JANE)
    assert (found["name"], found["name_folded"]) == ("Jané Dœ", "jane doe")
    assert found["email_folded"] == "example com"
    assert found["email_domain"] == "example.com"
    assert found["age_group"] == "senior"


def test_a_deleted_user_leaves_a_marker_without_personal_data() -> None:
    """Its version keeps a late event from bringing the user back."""
    assert document(DELETED) == {
        "user_id": JANE["user_id"],
        "version": 4,
        "updated_at": DELETED["occurred_at"],
        "gone": True,
    }


def test_a_document_has_the_version_of_its_user() -> None:
    """An older event never replaces a newer one."""
    action, content = bulk_lines(JANE, document).splitlines()
    assert json.loads(action) == {
        "index": {"_id": JANE["user_id"], "version": 3, "version_type": "external"}
    }
    assert json.loads(content) == document(JANE)
