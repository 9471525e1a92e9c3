"""What is made of the answer to a bulk request."""

from typing import Any

import pytest

from projectors.elasticsearch.index.bulk import Lines, unsent
from projectors.elasticsearch.index.hold import Held
from runtime.settings import Settings
from schemas.errors import Misconfigured, Poisoned, Unavailable


def item(status: int, problem: str = "") -> dict[str, Any]:
    """Return one item of an answer, as `filter_path` leaves it."""
    return {"index": {"status": status} | ({"error": {"type": problem}} if problem else {})}


def sent_again(*items: dict[str, Any]) -> tuple[list[str], Unavailable | None]:
    """Return the users who are sent again, one user for each item, and why."""
    part: list[Lines] = [(f"user-{n}", b"action\ndocument\n") for n in range(len(items))]
    left, why = unsent(Settings(), "users-1", part, items)
    return [user_id for user_id, _ in left], why


BUSY = item(429, "es_rejected_execution_exception")
FAILED = item(503, "unavailable_shards_exception")
OLD = item(409, "version_conflict_engine_exception")
REFUSED = item(400, "document_parsing_exception")
BLOCKED = item(403, "cluster_block_exception")


def test_only_what_did_not_land_is_sent_again() -> None:
    left, why = sent_again(item(201), BUSY, item(200), OLD, FAILED)
    assert left == ["user-1", "user-4"]
    assert "503" in str(why)


def test_an_old_event_is_no_failure() -> None:
    assert sent_again(OLD, item(201), OLD) == ([], None)


def test_a_document_that_is_refused_is_named_by_its_user_only() -> None:
    """What stays to be sent is applied again when the batch is halved."""
    with pytest.raises(Poisoned, match="user-1: document_parsing_exception"):
        sent_again(BUSY, REFUSED, OLD)


@pytest.mark.parametrize("held", [BLOCKED, item(404, "index_not_found_exception")])
def test_a_block_and_a_missing_alias_hold_the_writer(held: dict[str, Any]) -> None:
    """Whether the index is gone or a swap is under way, the index itself must say."""
    with pytest.raises(Held, match="users-1"):
        sent_again(item(201), REFUSED, held)


def test_who_may_not_write_is_told_so() -> None:
    """Trying again would not help."""
    with pytest.raises(Misconfigured) as misconfigured:
        sent_again(item(201), item(403, "security_exception"))
    assert misconfigured.value.code == "elasticsearch_forbidden"
