"""Two digests are equal only if the rows are."""

from projectors.contract.read_model import Row
from projectors.versions.digests import Digest

USERS = 1_000


def digest(*rows: Row) -> Digest:
    found = Digest()
    for row in rows:
        found.add(row)
    return found


def test_a_digest_depends_on_every_row_but_not_on_their_order() -> None:
    """One row changed, missing or doubled gives another digest."""
    assert digest(("a", 1), ("b", 2)) == digest(("b", 2), ("a", 1))
    others = [digest(("a", 1), ("b", 3)), digest(("a", 1)), digest(("a", 1), ("b", 2), ("b", 2))]
    assert digest(("a", 1), ("b", 2)) not in others


def test_values_that_two_users_have_exchanged_are_noticed() -> None:
    """A sum of the rows' own hashes would miss two in five: they are nearly linear."""
    for number in range(USERS):
        one, other = f"id {number}", f"id {number + USERS}"
        name, other_name = f"Jane {number}", f"Ada {number}"
        right = digest((one, 1, name), (other, 1, other_name))
        assert digest((one, 1, other_name), (other, 1, name)) != right


def test_a_missing_value_differs_from_an_empty_one() -> None:
    assert digest(("a", 1, None)) != digest(("a", 1, ""))
