"""The packed form of a user has exactly the content of the event, in fewer bytes."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from producers.domain.snapshot import UserSnapshot, pack, packed_key, packed_version, unpack
from schemas.records import User

# What the rules and `schemas.trust` allow.
_emails = st.text(st.characters(exclude_categories=["Cs"]), max_size=254)
_ids = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=64)
# UUIDs and look-alikes: upper case, other digits, spaces that `bytes.fromhex` ignores.
_command_ids = _ids | st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper())
_command_ids |= st.from_regex(r"[0-9a-g -]{36}", fullmatch=True)
_users = st.fixed_dictionaries(
    {
        "email": _emails,
        "email_key": _emails,
        "name": st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        "age": st.integers(0, 150),
        "created_at": st.integers(0, 253_402_300_799_999),
        "created_by": _command_ids,
    }
)
_numbers = st.integers(1, 2**63 - 2)


_gone = st.builds(UserSnapshot, _numbers, _numbers, _command_ids, st.none(), st.booleans())
_live = st.builds(UserSnapshot, _numbers, _numbers, _command_ids, _users, st.just(value=False))


@given(_gone | _live)
def test_unpacking_returns_what_was_packed(one: UserSnapshot) -> None:
    """Whatever its texts, live or gone; version and key are read without unpacking."""
    packed = pack(one)
    assert unpack(packed) == one
    assert packed_version(packed) == one.version
    assert packed_key(packed) == (one.user["email_key"].encode() if one.user else None)


@given(_live)
def test_equal_texts_are_stored_once(one: UserSnapshot) -> None:
    """A key equal to its address, a creation that is the latest command: as after a creation."""
    assert one.user is not None
    user: User = {**one.user, "email_key": one.user["email"], "created_by": one.command_id}
    same = one._replace(user=user)
    assert unpack(pack(same)) == same
    assert len(pack(same)) <= len(pack(one))


def test_a_uuid_takes_sixteen_bytes() -> None:
    """Most command ids are UUIDs, and every user has one."""
    short = pack(UserSnapshot(1, 1, str(UUID(int=5)), None, erased=False))
    assert len(pack(UserSnapshot(1, 1, "x" * 36, None, erased=False))) - len(short) == 20
