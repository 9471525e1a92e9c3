"""What the headers of a command ask for, and which are refused."""

import pytest
from starlette.datastructures import Headers

from producers.service.headers import (
    Preferences,
    command_id_of,
    expected_version_of,
    preferences_of,
)
from schemas.errors import Rejected

MOST = 2**63 - 1


def headers(name: str, *values: str) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for value in values])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["c-1"], "c-1"),
        (['"c-1"'], "c-1"),
        (['c"1'], 'c"1'),
        (["x" * 64], "x" * 64),
        (["a,b"], "a,b"),
    ],
)
def test_the_idempotency_key_is_the_command_id(values: list[str], expected: str | None) -> None:
    """In quotation marks, as its draft standard has it, or without."""
    assert command_id_of(headers("idempotency-key", *values)) == expected


@pytest.mark.parametrize(
    "values", [[""], ['""'], ["x" * 65], ["a b"], ["a\tb"], ["ä"], ["a, b"], ["a", "a"]], ids=str
)
def test_other_idempotency_keys_are_refused(values: list[str]) -> None:
    with pytest.raises(Rejected) as refused:
        command_id_of(headers("idempotency-key", *values))
    assert (refused.value.code, refused.value.field) == ("invalid_command", "Idempotency-Key")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), (["*"], None), (['"3"'], 3), ([' "3" '], 3), ([f'"{MOST}"'], MOST)],
)
def test_if_match_is_the_expected_version(values: list[str], expected: int | None) -> None:
    """`*` means any version."""
    assert expected_version_of(headers("if-match", *values)) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (['W/"3"'], "weak"),
        (['"3", "4"'], "more than one"),
        (['"3"', '"4"'], "more than one"),
        (['*, "4"'], "more than one"),
        (["3"], "not a version"),
        ([""], "not a version"),
        (['""'], "not a version"),
        (['"0"'], "not a version"),
        (['"03"'], "not a version"),
        (['"-3"'], "not a version"),
        (['"٣"'.encode().decode("latin-1")], "not a version"),
        (['"abc"'], "not a version"),
        ([f'"{MOST + 1}"'], "not a version"),
    ],
)
def test_what_is_no_single_version_of_ours_is_refused(values: list[str], message: str) -> None:
    """Ignoring a condition could overwrite another change."""
    with pytest.raises(Rejected, match=message) as refused:
        expected_version_of(headers("if-match", *values))
    assert (refused.value.code, refused.value.field) == ("invalid_command", "If-Match")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preferences()),
        (["respond-async"], Preferences(respond_async=True)),
        (["Respond-Async, WAIT=5"], Preferences(respond_async=True, wait_seconds=5)),
        (["wait=5", "respond-async"], Preferences(respond_async=True, wait_seconds=5)),
        (['wait = "5" ; x=y'], Preferences(wait_seconds=5)),
        (["wait=5, wait=9"], Preferences(wait_seconds=5)),
        (["wait=0"], Preferences(wait_seconds=0)),
        (["handling=lenient, return=minimal"], Preferences()),
        (['note="x, respond-async", wait=1'], Preferences(wait_seconds=1)),
        (["wait=soon"], Preferences()),
        (["wait=-1"], Preferences()),
        (["wait=1.5"], Preferences()),
        (["wait"], Preferences()),
        (["wait=9999999999"], Preferences()),
        (['wait="'], Preferences()),
        ([",, ,=;"], Preferences()),
    ],
    ids=str,
)
def test_unknown_and_malformed_preferences_are_ignored(
    values: list[str], expected: Preferences
) -> None:
    assert preferences_of(headers("prefer", *values)) == expected
