"""Tokens, as users and programs pass them on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from schemas.identity import SHARDS
from schemas.tokens import Token, parse_token


@given(st.dictionaries(st.integers(0, SHARDS - 1), st.integers(1, 10**18 - 1), min_size=1))
def test_a_token_survives_a_round_trip_through_text(seqs: dict[int, int]) -> None:
    assert parse_token(str(Token(seqs))) == Token(seqs)


def test_tokens_can_be_joined() -> None:
    """The greatest seq of each partition counts, so waiting for it waits for all."""
    assert parse_token(" 3:17,0:2,3:4 \n") == Token({3: 17, 0: 2})
    assert str(Token({3: 17, 0: 2})) == "0:2,3:17"


@pytest.mark.parametrize(
    "text",
    ["", "3", "3:", ":17", "3:0", "3:-1", "-1:3", "+3:1", "03:17", "3:017", "3 :17", "3:17,",
     ",3:17", "3:17, 0:2", "3:17;0:2", "3:17:1", "3:1.5", "3:1e3", "٣:١٧", "3:²", "10000:1",
     f"3:{10**18}", "3:17\x00", "3:17\n0:2", "\udcff"],
)  # fmt: skip
def test_text_that_is_not_a_token_is_rejected(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_token(text)
    assert refused.value.code == "invalid_token"


def test_a_partition_beyond_the_registrys_is_rejected() -> None:
    """A registry with fewer partitions could never reach such a token."""
    assert parse_token("3:17,0:2").within(4) == Token({3: 17, 0: 2})
    with pytest.raises(
        Rejected, match="partition 3; this registry has partitions 0 to 2"
    ) as refused:
        parse_token("3:17,0:2").within(3)
    assert refused.value.code == "invalid_token"
