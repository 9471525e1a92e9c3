"""The digest of a command's body, which the log keeps: releases must agree on it."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from producers.domain.answers import body_digest
from schemas.records import UserCommand

FIELDS = ("kind", "user_id", "email", "name", "age", "expected_version")


def record(**fields: str | int | None) -> UserCommand:
    return fields  # type: ignore[return-value]


def test_it_is_the_one_that_earlier_releases_wrote() -> None:
    ada = record(kind="CreateUser", email="ada@example.com", name="Ada O'Brien", age=36)
    assert body_digest(ada).hex() == "2376fbbad4947f49"


@given(st.tuples(*[st.none() | st.text() | st.characters(categories=["Cs"]) | st.integers()] * 6))
def test_it_covers_every_field_of_the_body(values: tuple[str | int | None, ...]) -> None:
    """Also one with lone surrogates; who asked, and when, is not part of the body."""
    fields = dict(zip(FIELDS, values, strict=True))
    expected = blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    assert body_digest(record(**fields, issued_by="anna", issued_at=1)) == expected
