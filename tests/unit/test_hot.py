"""The hot encoders write exactly what fastavro writes from the shipped schemas."""

from io import BytesIO
from typing import Any

from fastavro import schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from schemas import hot
from schemas.codec import parse, schema_text

# Characters of every width; lone surrogates cannot be encoded and are refused before.
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
_long = st.integers(-(2**63), 2**63 - 1)
_value = st.none() | _text | _long
_user = st.fixed_dictionaries(
    {
        "email": _text,
        "email_key": _text,
        "name": _text,
        "age": st.integers(0, 150),
        "created_at": _long,
        "created_by": _text,
    }
)
_event = st.fixed_dictionaries(
    {
        "event_id": _text,
        "command_id": _text,
        "seq": _long,
        "user_id": _text,
        "version": _long,
        "occurred_at": _long,
        "type": _text,
        "changes": st.lists(
            st.fixed_dictionaries({"field": _text, "before": _value, "after": _value}), max_size=3
        ),
        "user": st.none() | _user,
    }
)
_outcome = st.fixed_dictionaries(
    {
        "command_id": _text,
        "command_offset": _long,
        "decided_at": _long,
        "digest": st.binary(max_size=16),
        "status": _text,
        "user_id": st.none() | _text,
        "version": st.none() | _long,
        "seq": st.none() | _long,
        "code": st.none() | _text,
        "message": st.none() | _text,
        "repeated": st.booleans(),
    }
)


def by_fastavro(name: str, record: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    schemaless_writer(buffer, parse(schema_text(name)), record)
    return buffer.getvalue()


@given(_event)
def test_an_event_is_encoded_as_by_fastavro(event: Any) -> None:
    """Any event whose fields fit the schema."""
    assert hot.event_body(event) == by_fastavro("user_event", event)


@given(_outcome)
def test_an_outcome_is_encoded_as_by_fastavro(outcome: Any) -> None:
    """Any outcome whose fields fit the schema."""
    assert hot.outcome_body(outcome) == by_fastavro("command_outcome", outcome)


@given(_long)
def test_a_long_is_encoded_as_by_fastavro(number: int) -> None:
    """Every 64-bit number, negative ones too."""
    buffer = BytesIO()
    schemaless_writer(buffer, "long", number)
    assert hot.long(number) == buffer.getvalue()
