"""Identity: the partition of a user never changes, and the user id determines it."""

from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from schemas.identity import (
    SHARDS,
    email_key,
    email_shard,
    event_id,
    history_key,
    new_user_id,
    parse_user_id,
    partition_of,
    user_shard,
    uuid_bytes,
    uuid_text,
)

shards = st.integers(0, SHARDS - 1)


@given(shard=shards, unix_ms=st.integers(0, 2**48 - 1), bits=st.integers(0, 2**62 - 1))
def test_a_user_id_is_a_uuid7_with_shard_and_creation_time(
    shard: int, unix_ms: int, bits: int
) -> None:
    user_id = new_user_id(shard, unix_ms, bits)
    parsed = UUID(user_id)
    assert str(parsed) == user_id
    assert parsed.version == 7
    assert parsed.variant == "specified in RFC 4122"
    assert user_shard(user_id) == shard
    assert parsed.int >> 80 == unix_ms
    assert parsed.int & (2**62 - 1) == bits


@given(st.uuids())
def test_a_uuid_becomes_16_bytes_and_text_again(parsed: UUID) -> None:
    """The same bytes and the same text as the standard library's."""
    assert uuid_bytes(str(parsed)) == parsed.bytes
    assert uuid_text(parsed.bytes) == str(parsed)


@given(shard=shards, partitions=st.integers(1, SHARDS))
def test_every_shard_has_one_partition_in_order(shard: int, partitions: int) -> None:
    """Partitions are contiguous ranges of shards, and each number is a real partition."""
    partition = partition_of(shard, partitions)
    assert 0 <= partition < partitions
    if shard:
        assert partition - partition_of(shard - 1, partitions) in {0, 1}


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 7, 100, 4096])
def test_partitions_are_of_equal_size(partitions: int) -> None:
    sizes = [0] * partitions
    for shard in range(SHARDS):
        sizes[partition_of(shard, partitions)] += 1
    assert max(sizes) - min(sizes) <= 1


def test_placement_never_changes() -> None:
    """These values are on existing logs: a change would lose users."""
    assert email_shard("jane@example.com") == crc32(b"jane@example.com") & 4095 == 0x9B4
    assert partition_of(0x9B4, 8) == 4
    assert new_user_id(0xABC, 1_755_000_000_000, 1) == "01989e26-ce00-7abc-8000-000000000001"
    assert history_key("u", 3) == event_id("u", 3) == "u:3"


def test_addresses_that_differ_in_case_share_a_key() -> None:
    """Uniqueness ignores case, in every script."""
    assert email_key("Jane@Example.com") == email_key("jane@example.com")
    assert email_key("ÉLODIE@example.com") == email_key("élodie@example.com")


@given(st.uuids())
def test_every_spelling_of_an_id_is_one_id(uuid: UUID) -> None:
    """Upper case, missing hyphens and surrounding spaces make no difference."""
    for spelling in (str(uuid), str(uuid).upper(), uuid.hex, f"  {uuid}\n"):
        assert parse_user_id(spelling) == str(uuid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "1234",
        "0198f3c2-7a00-7abc-8000-00000000000g",
        "0x98f3c27a007abc8000000000000001",
        "0198_f3c2_7a00_7abc_8000_00000001",
        "+198f3c27a007abc8000000000000001",
        "٠١٩٨f3c2-7a00-7abc-8000-000000000001",
        "{0198f3c2-7a00-7abc-8000-000000000001}",
        "0198f3c2-7a00-7abc-8000-000000000001\x00",
        "0" * 10_000_000,
        None,
        7,
        b"0198f3c27a007abc8000000000000001",
    ],
)
def test_text_that_is_not_a_uuid_is_rejected(text: object) -> None:
    """As `invalid_command`; the message does not repeat it."""
    with pytest.raises(Rejected) as caught:
        parse_user_id(text)
    assert caught.value.code == "invalid_command"
    assert str(caught.value) == "the user id is not a UUID"


@given(st.text(max_size=40))
def test_any_text_is_a_canonical_id_or_is_rejected(text: str) -> None:
    try:
        user_id = parse_user_id(text)
    except Rejected:
        return
    assert parse_user_id(user_id) == user_id
